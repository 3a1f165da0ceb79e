"""The files of depth models: which names of iw3 exist, where each model's files are, and how they are loaded."""

import contextlib
import importlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tools.cli import UserError, is_shortage
from tools.cli.flags.words import suggestion

OFFLINE = "Motion"
MODEL_IDS = {  # iw3's --model-type -> Hugging Face repository; licences as the repositories state them
    "Any_S": "LiheYoung/depth-anything-small-hf",  # Apache-2.0
    "Any_B": "LiheYoung/depth-anything-base-hf",
    "Any_L": "LiheYoung/depth-anything-large-hf",  # Apache-2.0
    "Any_V2_S": "depth-anything/Depth-Anything-V2-Small-hf",  # Apache-2.0
    "Any_V2_B": "depth-anything/Depth-Anything-V2-Base-hf",  # CC-BY-NC-4.0: not for commercial use
    "Any_V2_L": "depth-anything/Depth-Anything-V2-Large-hf",  # CC-BY-NC-4.0: not for commercial use
    "Any_V2_N_S": "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",  # Apache-2.0
    "Any_V2_N_B": "depth-anything/Depth-Anything-V2-Metric-Indoor-Base-hf",
    "Any_V2_N_L": "depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf",
    "Any_V2_N": "depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf",
    "Any_V2_K_S": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf",  # Apache-2.0
    "Any_V2_K_B": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Base-hf",
    "Any_V2_K_L": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf",
    "Any_V2_K": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf",
    "Distill_Any_S": "xingyang1/Distill-Any-Depth-Small-hf",  # MIT
    "Distill_Any_B": "lc700x/Distill-Any-Depth-Base-hf",  # a third party's port
    "Distill_Any_L": "xingyang1/Distill-Any-Depth-Large-hf",  # MIT
    "ZoeD_N": "Intel/zoedepth-nyu",  # MIT
    "ZoeD_K": "Intel/zoedepth-kitti",  # MIT
    "ZoeD_NK": "Intel/zoedepth-nyu-kitti",  # MIT
    "DepthPro": "apple/DepthPro-hf",  # apple-amlr: research only
}
SUBSTITUTES = {  # patterns of iw3's names that transformers has no model for -> the name that comes nearest
    r"ZoeD_Any_N": "Any_V2_N",
    r"ZoeD_Any_K": "Any_V2_K",
    r"Any_V3_Mono(_01)?": "Any_V2_L",
    r"VDA_(Stream_)?S": "Any_V2_S",
    r"VDA_(Stream_)?B": "Any_V2_B",
    r"VDA_(Stream_)?L": "Any_V2_L",
    r"VDA_(Stream_)?Metric.*": "Any_V2_K",
    r"DepthPro_S": "DepthPro",  # its 1024 pixels are too few for the smallest of the three scales in transformers
}
FILES = ["config.json", "*.safetensors"]


def find_model(model_type: str) -> Path:
    """The folder with a model's config.json and weights; a named model is downloaded unless it is cached."""
    if model_type in MODEL_IDS:
        return fetch(model_type, MODEL_IDS[model_type])
    folder = Path(model_type)
    if folder.is_dir():
        if missing := missing_files(folder):
            raise UserError(f"{folder} holds no depth model: {missing} missing, expected {' and '.join(FILES)}")
        return folder
    for pattern, nearest in SUBSTITUTES.items():
        if re.fullmatch(pattern, model_type):
            raise UserError(f"--model-type {model_type} is not available in transformers: pass {nearest} instead")
    names = [OFFLINE, *MODEL_IDS]
    raise UserError(
        f"--model-type {model_type} is neither a folder nor a known name{suggestion(model_type, names)}: "
        f"expected a folder or one of {', '.join(names)}"
    )


def fetch(model_type: str, repository: str) -> Path:
    """The repository's folder in the Hugging Face cache."""
    import_extra(model_type, "transformers")
    import huggingface_hub as hub  # comes with transformers, an extra that need not be installed

    try:
        folder = Path(hub.snapshot_download(repository, allow_patterns=FILES, local_files_only=True))
        if not missing_files(folder):
            return folder
    except OSError:
        pass  # not in the cache
    try:
        # snapshot_download alone would wait for ever where the network drops packets instead of refusing them
        hub.model_info(repository, timeout=10)
        return Path(hub.snapshot_download(repository, allow_patterns=FILES))
    except (OSError, hub.errors.HTTPError) as error:
        raise UserError(
            f"--model-type {model_type} needs {' and '.join(FILES)} of {repository}, which cannot be downloaded "
            f"({first_line(error)}): put them into a folder and pass that, or use --model-type {OFFLINE}"
        ) from None


def missing_files(folder: Path) -> str:
    return ", ".join(pattern for pattern in FILES if not any(folder.glob(pattern)))


def load_network(folder: Path, families: Collection[str]) -> Any:  # transformers, an extra, has the types
    """The model in a folder, in eval mode. Raises UserError where it cannot be read or is of none of the families."""
    transformers = import_extra(str(folder), "transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with reading(f"{folder}/config.json"):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in families:
        raise UserError(f"{folder} holds a {config.model_type}: expected one of {', '.join(families)}")
    config.use_fov_model = False  # DepthPro's estimate of the focal length: a factor for each frame, which flickers
    with reading(f"the weights in {folder}"):
        network, report = transformers.AutoModelForDepthEstimation.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True
        )
    if report["missing_keys"]:
        raise UserError(f"the weights in {folder} lack {min(report['missing_keys'])}: copy the file again")
    return network.eval()


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn any exception of the block, which reads a file of a stranger, into a UserError."""
    try:
        yield
    except Exception as error:  # transformers and safetensors raise many kinds for a file that is damaged
        if is_shortage(error):
            raise
        reason = first_line(error) or type(error).__name__
        raise UserError(f"{what} cannot be read ({reason}): copy or download the model again") from error


def import_extra(model_type: str, package: str) -> ModuleType:
    """The package, which only transformers' models need and which takes seconds to import."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise UserError(
            f"--model-type {model_type} needs {package}: run `make setup EXTRAS=depth`, or use --model-type {OFFLINE}"
        ) from None


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
