"""Imports of the old library in all their forms, and what the names are afterwards."""

from pathlib import Path

import pytest

from compat.migrate import check
from tests.migrate.reading import read, remarks, uses, write


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import aitoolbox", ["1:8 import aitoolbox"]),
        ("import os, aitoolbox as ai", ["1:12 import aitoolbox"]),
        ("import aitoolbox.torchtrain.model\n", ["1:8 import aitoolbox.torchtrain.model"]),
        ("from aitoolbox import TrainLoop as L, TTModel", ["1:23 import TrainLoop", "1:39 import TTModel"]),
        ("from aitoolbox import (\n    TrainLoop,\n    TTModel\n)", ["2:5 import TrainLoop", "3:5 import TTModel"]),
        ("from aitoolbox.torchtrain import train_loop as tl\ntl.TrainLoop", [
            "1:34 import aitoolbox.torchtrain.train_loop", "2:1 reference TrainLoop"]),
        ("import aitoolbox.torchtrain.train_loop as tl\ntl.train_loop.TrainLoop()", [
            "1:8 import aitoolbox.torchtrain.train_loop", "2:1 reference TrainLoop"]),
        ("import aitoolbox.torchtrain.model\naitoolbox.TrainLoop", [
            "1:8 import aitoolbox.torchtrain.model", "2:1 reference TrainLoop"]),
        ("from aitoolbox.utils.dict_util import np\nnp.mean", ["1:39 import aitoolbox.utils.dict_util.np"]),
    ],
)  # fmt: skip
def test_every_form_of_import(code: str, expected: list[str], tmp_path: Path) -> None:
    assert uses(tmp_path, code) == expected


@pytest.mark.parametrize(
    "code",
    [
        "import aitoolbox2",
        "from aitoolbox_extras import TTModels",
        "import my.aitoolbox",
        "# from aitoolbox import TrainLoop",
        '"""from aitoolbox import TrainLoop"""',
        "text = 'from aitoolbox import TrainLoop'",
        "import other\nother.TrainLoop()\nother.aitoolbox.TrainLoop",
        "from compat import TrainLoop\nloop = TrainLoop()\nloop.fit(1)",
        "import compat\ncompat.TrainLoop().fit(1)",
        "aitoolbox.TrainLoop",
        "class TrainLoop: pass\nTrainLoop().fit()",
    ],
)
def test_what_only_looks_like_it_is_no_use(code: str, tmp_path: Path) -> None:
    report = read(tmp_path, code)
    assert (report.findings, report.remarks, report.unreadable) == ((), (), ())
    assert report.exit_code == 0


def test_star_import_brings_what_the_package_exports(tmp_path: Path) -> None:
    code = """
    from aitoolbox.torchtrain.train_loop import *
    loop = TrainLoop(1)
    loop.fit(3)
    TrainLoopCheckpoint
    print(len([]))
    """
    assert uses(tmp_path, code) == [
        "1:45 star import aitoolbox.torchtrain.train_loop",
        "2:8 reference TrainLoop",
        "3:6 member TrainLoop.fit",
        "4:1 reference TrainLoopCheckpoint",
    ]


def test_names_that_only_the_star_of_older_versions_leaked_do_not_run(tmp_path: Path) -> None:
    code = "from aitoolbox.torchtrain.train_loop import *\nx = np.ones(3)\ny = np.ones(3)\nclass Net(TTModel): pass\n"
    star, np, again, model = read(tmp_path, code).findings
    assert star.effort == "runs as it is"
    assert {found.effort for found in (np, again, model)} == {"does not run"}
    assert [(found.place.line, found.name.rpartition(".")[2]) for found in (np, again)] == [(2, "np"), (3, "np")]
    assert np.why.endswith("Write: import numpy as np.")
    assert model.why.endswith("Write: from aitoolbox.torchtrain.model import TTModel.")
    assert (model.kind, remarks(tmp_path, code)) == ("subclass", [])


def test_what_another_star_may_bring_is_not_said_to_be_gone(tmp_path: Path) -> None:
    code = "from aitoolbox.torchtrain.train_loop import *\nfrom helpers import *\nnp.ones(3)\n"
    assert uses(tmp_path, code) == ["1:45 star import aitoolbox.torchtrain.train_loop"]
    (remark,) = remarks(tmp_path, code)
    assert remark.startswith("3: np comes from nowhere but the star import")
    assert "or of helpers" in remark


def test_a_star_import_brings_what_the_module_lists(tmp_path: Path) -> None:
    code = "from aitoolbox import TrainLoop, TTModel\n__all__ = ['TTModel']\n__all__ += ['_own']\n_own = TrainLoop\n"
    write(tmp_path, "lib.py", code)
    write(tmp_path, "main.py", "from lib import *\nTTModel\nTrainLoop\n_own\n")
    found = [finding for finding in check([str(tmp_path)]).findings if finding.place.path.endswith("main.py")]
    assert [finding.place.line for finding in found] == [2, 4]
    write(tmp_path, "lib.py", code.replace("['TTModel']", "list_of(TTModel)"))
    found = [finding for finding in check([str(tmp_path)]).findings if finding.place.path.endswith("main.py")]
    assert [finding.place.line for finding in found] == [2, 3], "a list that is computed is not known"


@pytest.mark.parametrize(
    ("code", "efforts"),
    [
        ("from aitoolbox import TrainLoopCheckpoint as T", ["needs a look"]),
        ("from aitoolbox import TrainLoopCheckpoint as T\ndef f(x: T): return isinstance(x, T)", ["needs a look"] * 3),
        ("from aitoolbox import TrainLoopCheckpoint as T\nclass A(T): pass", ["needs a look"] * 2),
        (
            "from aitoolbox import TrainLoopCheckpoint as T\nclass A(T): pass\nA(1)",
            ["does not run", "needs a look", "does not run"],
        ),
        ("from aitoolbox import TrainLoop as T\nclass A(T): pass\nA(1)", ["runs as it is"] * 2),
        ("from aitoolbox import MultiLoss as M\nM({})", ["needs a look"] * 2),
        ("from aitoolbox import TrainLoopCheckpoint as T\nT(1)", ["does not run"] * 2),
        ("from aitoolbox import TrainLoopCheckpoint as T\nT.fit", ["does not run"] * 2),
        ("from aitoolbox import TrainLoopCheckpoint as T\nf = T", ["needs a look"] * 2),
        ("import aitoolbox\naitoolbox.TrainLoopCheckpoint(1)", ["runs as it is", "does not run"]),
        ("try:\n    from aitoolbox import Nothing\nexcept ImportError:\n    Nothing = None", ["needs a look"]),
        ("try:\n    from aitoolbox import Nothing\nexcept ValueError:\n    Nothing = None", ["does not run"]),
        ("from aitoolbox.nlp.models import x", ["does not run"]),
    ],
)
def test_a_name_that_is_not_served_stops_where_it_is_used(code: str, efforts: list[str], tmp_path: Path) -> None:
    assert [finding.effort for finding in read(tmp_path, code).findings] == efforts


@pytest.mark.parametrize(
    ("code", "effort"),
    [
        ("from aitoolbox.utils.dict_util import np", "runs as it is"),
        ("from aitoolbox.cloud.AWS.data_access import boto3", "needs a look"),
    ],
)
def test_what_modules_imported_may_have_to_be_installed(code: str, effort: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, code).findings
    assert found.effort == effort
    assert ("boto3 must be installed" in found.why) == (effort != "runs as it is")


def test_a_name_that_the_file_imports_itself_was_not_leaked(tmp_path: Path) -> None:
    assert remarks(tmp_path, "from aitoolbox.torchtrain.train_loop import *\nimport numpy as np\nnp.ones(3)") == []
    assert remarks(tmp_path, "import numpy as np\nfrom aitoolbox.torchtrain.train_loop import *\nnp.ones(3)") == []


def test_older_paths_are_reported_with_those_of_today(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "from aitoolbox.torchtrain.tl_components.message_passing import MessageService").findings
    assert found.name == "aitoolbox.torchtrain.train_loop.components.message_passing.MessageService"
    assert found.written == "aitoolbox.torchtrain.tl_components.message_passing.MessageService"
    assert found.versions == "1.0 - 1.3"


def test_modules_that_are_gone_are_refused_with_all_below_them(tmp_path: Path) -> None:
    code = "from aitoolbox.nlp.models.torch import anything\nimport aitoolbox.nlp.models"
    found = read(tmp_path, code).findings
    assert [finding.status for finding in found] == ["refused", "refused"]
    assert all(finding.why and finding.native for finding in found)


def test_unknown_names_come_with_the_nearest_ones(tmp_path: Path) -> None:
    name, module = read(tmp_path, "from aitoolbox import TrainLoup\nimport aitoolbox.torchtrains").findings
    assert (name.status, name.nearest[0].rpartition(".")[2]) == ("unknown", "TrainLoop")
    assert (module.status, module.nearest[0]) == ("unknown", "aitoolbox.torchtrain")


def test_the_package_with_capitals_is_unknown_and_led_to_todays(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "from AIToolbox.torchtrain.model import TTModel").findings
    assert found.status == "unknown"
    assert found.nearest[0] == "aitoolbox.torchtrain.model.TTModel"


def test_conditional_and_inner_imports(tmp_path: Path) -> None:
    code = """
    try:
        from aitoolbox import TrainLoop
    except ImportError:
        TrainLoop = None
    if TrainLoop:
        TrainLoop(1)
    def f():
        from aitoolbox import TTModel
        return TTModel
    TTModel
    """
    assert uses(tmp_path, code) == [
        "2:27 import TrainLoop",
        "5:4 reference TrainLoop",
        "6:5 reference TrainLoop",
        "8:27 import TTModel",
        "9:12 reference TTModel",
    ]


def test_names_imported_across_files(tmp_path: Path) -> None:
    write(tmp_path, "mylib/__init__.py", "from aitoolbox import TrainLoop\nfrom .models import Net\n")
    write(tmp_path, "mylib/models.py", "from aitoolbox import TTModel\nclass Net(TTModel): pass\n")
    write(tmp_path, "train.py", "from mylib import TrainLoop as L, Net\nl = L(Net())\nl.fit(1)\n")
    write(tmp_path, "again.py", "import mylib.models as m\nclass Wide(m.Net):\n    def get_loss(self): pass\n")
    write(tmp_path, "mylib/inner.py", "from . import TrainLoop\nTrainLoop\n")
    write(tmp_path, "other.py", "from mylib2 import Net\nNet()\n")
    found = check([str(tmp_path)]).findings
    shown = [(Path(f.place.path).relative_to(tmp_path).as_posix(), f.place.line, f.kind) for f in found]
    assert shown == [
        ("again.py", 3, "override"),
        ("mylib/__init__.py", 1, "import"),
        ("mylib/inner.py", 1, "import"),
        ("mylib/inner.py", 2, "reference"),
        ("mylib/models.py", 1, "import"),
        ("mylib/models.py", 2, "subclass"),
        ("train.py", 1, "import"),
        ("train.py", 2, "reference"),
        ("train.py", 3, "member"),
    ]


def test_names_from_files_that_were_not_checked_are_remarked(tmp_path: Path) -> None:
    (remark,) = remarks(tmp_path, "from mylib import TrainLoop, EarlyStopping\nTrainLoop()")
    assert remark.startswith("1: TrainLoop comes from mylib, which is not among the checked files")
    (remark,) = remarks(tmp_path, "from mylib import *\nTrainLoop()")
    assert remark.startswith("2: TrainLoop comes from the star import of mylib, which is not among the checked files")
    assert remarks(tmp_path, "from compat import *\nTrainLoop()\nfrom other import *\nTrainLoop()") == []
    assert remarks(tmp_path, "from other import *\nTrainLoop = 1\nTrainLoop") == []
