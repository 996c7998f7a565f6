"""What `make serve|test|demo|doctor|soak` does: a virtual environment with the right extras, then the command.

    python3 scripts/bootstrap.py serve --model my.gguf

Standard library only, and old syntax where an old Python must still be able to say that it is too old. The environment
is .venv in the checkout, made with uv where it is found, else with venv and pip. Installing is skipped while
pyproject.toml and the wanted extras are what they were.
"""

import hashlib
import os
import shutil
import subprocess
import sys

LOWEST = (3, 11)
NEWER = ["python3.14", "python3.13", "python3.12", "python3.11"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin", "python")
STAMP = os.path.join(VENV, "rtriton-installed")
EXTRAS = {
    "serve": ["serve"],
    "doctor": ["serve"],
    "demo": ["serve", "demo"],
    "test": ["serve", "test"],
    "soak": ["serve", "test"],
    "ci": ["serve", "dev"],
}


def main(arguments):
    """Set up, then become the command."""
    if not arguments or arguments[0] not in EXTRAS:
        stop("say one of {}: python3 scripts/bootstrap.py serve".format(", ".join(sorted(EXTRAS))))
    task, rest = arguments[0], arguments[1:]
    uv = shutil.which("uv")
    make_venv(uv)
    install(uv, EXTRAS[task] + gpu_extras())
    if task == "ci":
        return  # it runs its own commands
    command = {
        "serve": ["-m", "server.cli", "serve", "--port", os.environ.get("PORT", "8000")],
        "demo": ["-m", "server.cli", "demo"],
        "doctor": ["-m", "server.cli", "doctor"],
        "test": ["-m", "pytest"],
        "soak": ["-m", "tests.load.soak", "20000"],
    }[task]
    os.chdir(ROOT)
    sys.stdout.flush()
    # not a child: signals and the exit status are the command's own
    os.execv(PYTHON, [PYTHON] + command + rest)


def stop(message):
    """End with one sentence."""
    sys.stderr.write("rtriton: {}\n".format(message))
    sys.exit(1)


# ---- the environment ---------------------------------------------------------------------------------


def make_venv(uv):
    """A .venv whose Python is new enough; one that exists is kept."""
    if os.path.exists(PYTHON):
        if subprocess.call([PYTHON, "-c", "import sys; sys.exit(sys.version_info < {})".format(LOWEST)]) == 0:
            return
        stop("the Python in .venv is older than 3.11 or broken; remove it with `make clean` and run make again")
    python = new_enough()
    if uv:
        version = python or ">={}.{}".format(*LOWEST)
        if run([uv, "venv", "--quiet", "--python", version, VENV]) == 0:
            return
        if python is None:
            stop("Python 3.11 or newer is needed, this is {}, and uv could not get one; {}".format(own(), how_to_get()))
        shutil.rmtree(VENV, ignore_errors=True)
    if python is None:
        stop("Python 3.11 or newer is needed and this is {}; {}".format(own(), how_to_get()))
    if subprocess.call([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) != 0:
        remedy = "run `sudo apt install python{}-venv` (or install uv) and make again".format(version_of(python))
        stop("this Python cannot make environments; {}".format(remedy))
    if run([python, "-m", "venv", VENV]) != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        stop("`{} -m venv .venv` failed; what it said is above".format(python))


def new_enough():
    """A Python of this machine that is new enough: the one that runs this, else the newest with a usual name."""
    if sys.version_info >= LOWEST:
        return sys.executable
    for name in NEWER:
        path = shutil.which(name)
        if path:
            return path
    return None


def own():
    """The version of the Python that runs this."""
    return "{}.{}".format(*sys.version_info[:2])


def version_of(python):
    """Major and minor of another Python."""
    asked = subprocess.check_output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    return asked.decode().strip()


def how_to_get():
    """The remedy for an old Python."""
    return "install one (`sudo apt install python3.11 python3.11-venv`) and run make again with PYTHON=python3.11"


# ---- what goes in ------------------------------------------------------------------------------------


def gpu_extras():
    """The CUDA bindings where the driver answers. A GPU that is broken is the command's to report."""
    # asked by the new Python: server/gpu.py has syntax that an old one cannot read
    try:
        state = subprocess.check_output([PYTHON, "-c", "from server.gpu import probe; print(probe().state)"], cwd=ROOT)
    except subprocess.CalledProcessError:
        return []
    return ["cuda-driver"] if state.decode().strip() == "usable" else []


def install(uv, extras):
    """This checkout, editable, with its extras; nothing if that was done before."""
    if set(extras) <= installed():
        return
    print("rtriton: installing into .venv ({})".format(", ".join(extras)))
    sys.stdout.flush()
    target = "{}[{}]".format(ROOT, ",".join(extras))
    if run(installer(uv) + ["-e", target]) != 0:
        stop(why_not())
    if "cuda-driver" in extras and not has_cublas():
        print("rtriton: no cuBLAS found on this machine; installing nvidia-cublas-cu12")
        sys.stdout.flush()
        if run(installer(uv) + ["nvidia-cublas-cu12"]) != 0:
            stop(why_not())
    with open(STAMP, "a") as file:
        file.write(fingerprint() + " " + " ".join(extras) + "\n")


def installer(uv):
    """The command that installs packages into .venv."""
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", PYTHON]
    # compiled when first imported instead: half of what there is never is
    return [PYTHON, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]


def has_cublas():
    """Whether cuda-pathfinder finds a cuBLAS that is already there."""
    find = "from cuda.pathfinder import load_nvidia_dynamic_lib as find; find('cublasLt')"
    return subprocess.call([PYTHON, "-c", find], stderr=subprocess.DEVNULL) == 0


def fingerprint():
    """What the packages of an extra depend on."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def installed():
    """The extras that were installed as pyproject.toml now has them."""
    if not os.path.exists(STAMP):
        return set()
    with open(STAMP) as file:
        lines = [line.split() for line in file]
    return {extra for line in lines if line[0] == fingerprint() for extra in line[1:]}


def why_not():
    """The remedy for an installation that failed; the installer's own words are above."""
    return (
        "the packages could not be installed (the installer's reason is above); "
        "without a network connection to the package index, connect and run make again"
    )


def run(command):
    """The exit status, its output passed through."""
    return subprocess.call(command, cwd=ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
