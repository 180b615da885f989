"""The programs of the signing guide and of the wire format's chapter on signatures run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from tests.docs.reader import ROOT, Reader, end

GUIDE = ROOT / "docs" / "guides" / "signing.md"
FORMAT = ROOT / "docs" / "wire-format.md"


def block(page: Path, mark: str, language: str) -> str:
    """The code block of a page that carries a mark."""
    found = re.search(
        rf"<!-- test: {mark} -->\n```{language}\n(.*?)```", page.read_text(), re.DOTALL
    )
    assert found is not None
    return found[1]


def test_the_test_vector_is_what_its_program_prints(reader: Reader) -> None:
    """With the standard library only; and it is what the product makes of the same job."""
    (reader.folder / "sign.py").write_text(block(FORMAT, "signature", "python"))
    printed = reader.python("sign.py").strip()
    assert f"`{printed}`" in FORMAT.read_text()
    same = (
        "from rabbitjobs.message.envelope import Envelope as E\n"
        "from rabbitjobs.message.signing import Signing, SigningOptions\n"
        "from rabbitjobs.secret import Secret\n"
        "keys = {'k2': Secret('an example key, 32 characters long')}\n"
        "job = E(id='0192f0c1-7d1e-7c3a-9b51-2f6f1a9f0a11', job='shop.jobs.확인', queue='emails',\n"
        "  expires=1764000000.0,\n"
        '  body=b\'{"args": ["ada@shop.example"], "kwargs": {"order": 42}}\')\n'
        "print(Signing(SigningOptions(keys, 'k2'), namespace='shop').sign(job).signature)\n"
    )
    assert reader.python("-c", same).strip() == printed


def test_the_program_of_the_guide_runs_signed(reader: Reader) -> None:
    """One key from the environment, one from a file; a send without the keys is not run."""
    (reader.folder / "config").mkdir()
    (reader.folder / "config" / "rabbitjobs.yaml").write_text(block(GUIDE, "signing.yaml", "yaml"))
    (reader.folder / "guide.py").write_text(block(GUIDE, "signing.py", "python"))
    (reader.folder / "k1").write_text("1" * 40 + "\n")
    keys = {
        "PYTHONPATH": f"{ROOT}:{reader.folder}",
        "RABBITJOBS_KEY_K2": "2" * 40,
        "RABBITJOBS_KEY_K1_FILE": str(reader.folder / "k1"),
    }
    signer = replace(reader, environment=reader.environment | keys)
    worker = signer.start("-m", "rabbitjobs", "--app", "guide:app", "run", "--apply")
    try:
        signer.python("-c", "from guide import app; app.apply()")
        assert signer.python("guide.py") == "hello ada\n"
        unsigned = "from rabbitjobs import RabbitJobs\n"
        unsigned += "RabbitJobs('shop').remote('welcome', queue='default').send('eve')"
        (reader.folder / "elsewhere").mkdir()
        stranger = replace(reader, folder=reader.folder / "elsewhere")
        stranger.python("-c", unsigned)
        assert signer.python("guide.py") == "hello ada\n"
    finally:
        assert end(worker) == 0, signer.log()
    assert "job refused for its signature" in signer.log()
