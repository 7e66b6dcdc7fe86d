"""Secrets go, settings stay."""

from __future__ import annotations

from typing import Any

import pytest

from runstore.redact import (
    REDACTED,
    is_secret_name,
    redact_command,
    redact_params,
    redact_source,
    redact_text,
)

SECRET = "h7Kq2-secret-value-9xZ"

# Made here, so that no scanner of this repository takes them for real ones.
SHAPED = {
    "hugging face": "hf_" + "aB3" * 10,
    "github": "ghp_" + "aB3" * 12,
    "github fine-grained": "github_pat_" + "aB3_" * 10,
    "gitlab": "glpat-" + "aB3-" * 6,
    "aws": "AKIA" + "ABCD2345" * 2,
    "google": "AIza" + "aB3_" * 9,
    "openai": "sk-proj-" + "aB3-" * 9,
    "stripe": "sk_live_" + "aB3" * 8,
    "slack": "xoxb-" + "123-" * 5,
    "jwt": ".".join(["eyJ" + "aB3" * 5] * 3),
    "wandb": "wandb_v1_" + "aB3" * 10,
}


@pytest.mark.parametrize(
    "name",
    [
        "--api-key", "WANDB_API_KEY", "HF_TOKEN", "token", "--auth-token", "password", "db.passwd",
        "AWS_SECRET_ACCESS_KEY", "clientSecret", "private_key", "openaiKey", "key", "cookie",
        "Authorization", "githubToken", "PASSWORD2", "accessToken",
    ],
)  # fmt: skip
def test_secret_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "--max-tokens", "tokenizer", "--key-dim", "author", "num_keys", "keyboard", "key_padding",
        "pad_token", "--eos-token", "monkey", "secretary", "tokens_per_batch", "lr", "", "--",
        "n_tokens", "sort_key", "primary_key", "tokenizers_parallelism", "authors", "passes",
    ],
)  # fmt: skip
def test_setting_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "command",
    [
        ["train.py", "--api-key", SECRET],
        ["train.py", f"--api-key={SECRET}"],
        ["train.py", f"api_key={SECRET}"],
        ["train.py", "--token", SECRET, "--lr", "0.1"],
        ["env", f"HF_TOKEN={SECRET}", "python", "train.py"],
        ["train.py", "--data", f"https://me:{SECRET}@example.org/x"],
        ["train.py", "--data", f"https://me:p@{SECRET}@example.org/x"],
        ["train.py", "--config", f'{{"lr": 1, "api_key": "{SECRET}"}}'],
        ["python", "-c", f"login(token='{SECRET}')"],
    ],
    ids=repr,
)
def test_secret_in_a_command_is_taken_out(command: list[str]) -> None:
    cleaned = redact_command(command)
    assert SECRET not in " ".join(cleaned)
    assert REDACTED in " ".join(cleaned)
    assert len(cleaned) == len(command)


@pytest.mark.parametrize(
    "command",
    [
        ["train.py", "--max-tokens", "512", "--tokenizer", "bert", "--key-dim", "64"],
        ["train.py", "tokenizer=bert", "author=x", "model.key_dim=64", "--pad-token", "<pad>"],
        ["train.py", "--pad-token", "0", "auth_retries=3", "--lr=0.1", "data=/mnt/a@b/c"],
        ["python", "-m", "torch.distributed.run", "--nproc-per-node=8", "train.py"],
        ["train.py", "user@example.org", "a=b=c", "--", "-x"],
    ],
    ids=repr,
)
def test_settings_in_a_command_stay(command: list[str]) -> None:
    assert redact_command(command) == command


@pytest.mark.parametrize("secret", SHAPED.values(), ids=SHAPED.keys())
def test_value_with_the_shape_of_a_secret_is_taken_out_by_any_name(secret: str) -> None:
    assert redact_text(f"x {secret}, y") == f"x {REDACTED}, y"
    assert redact_params({"note": secret}) == {"note": REDACTED}
    assert secret not in redact_source(f"+    foo('{secret}')")


@pytest.mark.parametrize(
    ("params", "cleaned"),
    [
        ({"api_key": SECRET}, {"api_key": REDACTED}),
        ({"wandb": {"key": SECRET, "n": 1}}, {"wandb": {"key": REDACTED, "n": 1}}),
        ({"tokens": [1, 2]}, {"tokens": [1, 2]}),
        ({"passwords": ["a1"], "password": ["a1b2"]}, None),
        ({"max_tokens": 512, "lr": 0.1}, {"max_tokens": 512, "lr": 0.1}),
        ({"key": None, "secret": True, "token": 5}, {"key": None, "secret": True, "token": 5}),
    ],
)
def test_params(params: dict[str, Any], cleaned: dict[str, Any] | None) -> None:
    found = redact_params(params)
    if cleaned is None:
        assert found["password"] == [REDACTED]
    else:
        assert found == cleaned


@pytest.mark.parametrize(
    "line",
    [
        f'+API_KEY = "{SECRET}"',
        f"+password: '{SECRET}'",
        f"+export HF_TOKEN={SECRET}",
        f"+# login failed: password={SECRET}",
        f'+    "client_secret": "{SECRET}",',
        f"+remote = https://user:{SECRET}@host/repo.git",
        f"-----BEGIN RSA PRIVATE KEY-----\n+{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_secret_in_a_patch_is_taken_out(line: str) -> None:
    patch = f"--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n{line}\n"
    assert SECRET not in redact_source(patch)


@pytest.mark.parametrize(
    "line",
    [
        "+    tokens = tokenizer(text)[0]",
        '+token = os.environ["HF_TOKEN"]',
        "+def login(password: str, key: bytes) -> None:",
        "+    max_tokens = 1024",
        '+    pad_token = "<pad>"',
        "+    for key, value in items:",
    ],
)
def test_code_in_a_patch_stays(line: str) -> None:
    assert redact_source(line) == line
