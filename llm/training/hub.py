"""A finished run's adapter on the Hugging Face hub (the option `push_to_hub`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm.config import TrainConfig

# What a user of the adapter needs. The configuration of the run, which names files of this machine, is not uploaded.
UPLOADED = (
    "adapter_config.json adapter_model.safetensors README.md tokenizer* special_tokens* added_tokens* chat_template* "
    "vocab* merges* config.json generation_config.json model*.safetensors*"
).split()


def check_push(config: TrainConfig) -> None:
    """Raise ValueError, in one line, if a run's adapter could not be uploaded: before the run, and without network.

    The token is the one that `huggingface_hub` finds: HF_TOKEN, or that of `hf auth login`.
    """
    if not config.push_to_hub:
        return
    from huggingface_hub import get_token
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(config.push_to_hub)
    except HFValidationError as error:
        raise ValueError(f"push_to_hub: {' '.join(str(error).split())}") from error
    if config.model == "embedded" or Path(config.model).exists():
        raise ValueError(
            f"push_to_hub: the base model {config.model} is on this machine, and nobody could load an adapter for it "
            "from the hub; give --model a name of the hub"
        )
    if HF_HUB_OFFLINE:
        raise ValueError("push_to_hub: HF_HUB_OFFLINE is set; unset it, or leave --push-to-hub out")
    if not get_token():
        raise ValueError("push_to_hub: there is no token; set HF_TOKEN, or run `hf auth login`")


def push(folder: Path, repository: str) -> str:
    """Upload a finished run's adapter, tokenizer and model card; return the address of the commit.

    repository  OWNER/NAME; made, private, if there is none

    Uploading the same files again changes nothing. Raises ValueError, in one line, if the hub refuses the upload or is
    not reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=UPLOADED, commit_message="Adapter of a finished run"
        )
    # Errors of the hub, of the connection, and of its answers; httpx has classes of its own for the latter two.
    except Exception as error:
        known = isinstance(error, HfHubHTTPError | OSError | ValueError) or type(error).__module__.startswith("httpx")
        if not known:
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        remedy = f"the run in {folder} is finished, and the same command uploads it again"
        raise ValueError(f"push_to_hub: {repository}: {reason}; {remedy}") from error
    return str(commit.commit_url)
