"""The words by which the old library's ``cloud_save_mode`` and its like name a cloud.

The comparison is exact; any other word, ``None`` among them, means the local disk alone.
"""

__all__ = ["gcs_available_options", "s3_available_options"]

s3_available_options = ["s3", "aws_s3", "aws"]
gcs_available_options = ["gcs", "google_storage", "google storage"]
