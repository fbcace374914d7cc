"""Each kind of worker imports the old library: run with ``python -m compat run``, in a folder of its own."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import torch
from torch.utils.data import DataLoader, Dataset

METHOD = sys.argv[1]


class Lengths(Dataset):
    """Each item is made in a worker, with the old library imported there."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        from aitoolbox.utils.util import flatten_list_of_lists

        return torch.tensor(len(flatten_list_of_lists([[0] * index, [1]])))


def imported(_):
    """Import the old library where this runs, and say what came."""
    from aitoolbox.torchtrain.train_loop import TrainLoop

    return TrainLoop.__module__


def send(queue):
    queue.put(imported(None))


def in_a_process(context):
    queue = context.Queue()
    process = context.Process(target=send, args=(queue,))
    process.start()
    answer = queue.get(timeout=90)
    process.join(30)
    return answer


def main():
    context = multiprocessing.get_context(METHOD)
    print("process", in_a_process(context))
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        print("executor", *pool.map(imported, [0]))
    with context.Pool(1) as pool:
        print("pool", *pool.map(imported, [0]))
    loader = DataLoader(Lengths(), batch_size=2, num_workers=2, multiprocessing_context=METHOD)
    print("loader", *(int(item) for batch in loader for item in batch))
    code = "from aitoolbox import TrainLoop; print(TrainLoop.__module__)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=90)
    print("child", child.stdout.strip())
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    child = subprocess.run([sys.executable, "-c", nested], capture_output=True, text=True, check=True, timeout=90)
    print("grandchild", child.stdout.strip())


if __name__ == "__main__":
    main()
