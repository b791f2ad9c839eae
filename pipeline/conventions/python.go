package conventions

import (
	"slices"
	"strings"
)

// python recognises projects. The host's interpreter belongs to the host: what is installed goes into an environment of
// the workspace.
func (s *search) python(d *dir) {
	marker := d.first(pythonMarkers()...)
	if marker == "" {
		return
	}
	pyproject := s.read(d, "pyproject.toml")
	for _, name := range []string{"project", "tool.poetry"} {
		table, _ := tomlTable(pyproject, name)
		s.call(d, tomlString(table, "name"))
	}
	f := Finding{Kind: kindPython, Marker: d.at(marker), Task: Task{Minutes: 20}}
	switch own := pythonMarkers()[:2]; {
	case s.hasTox(d):
		f.Marker = d.at("tox.ini")
		f.Task.Steps = inVenv("tox", ".venv/bin/tox run -e py")
	case d.holds(isPythonTest, own...):
		f.Task.Steps = s.pythonTests(d, pyproject, &f)
	case !d.holds(func(name string) bool { return strings.HasSuffix(name, ".py") }, own...):
		s.leaveOut(d.at(marker), "there is no Python code beside or below it")
		return
	case marker == "requirements.txt" && d.path != ".":
		s.leaveOut(d.at(marker), "no tests were found (test_*.py, *_test.py)")
		return
	default:
		f.Task.Steps = sh("python3 -m compileall -q .")
		f.Notes = append(f.Notes, "no tests were found (test_*.py, *_test.py): each file is compiled")
	}
	s.find(d, f)
}

// pythonMarkers are those of a project, the telling ones first: the first two make a directory a project of its own.
func pythonMarkers() []string {
	return []string{"pyproject.toml", "setup.py", "tox.ini", "requirements.txt"}
}

func isPythonTest(name string) bool {
	base, isPython := strings.CutSuffix(name, ".py")
	return isPython && (base == "tests" || strings.HasPrefix(base, "test_") || strings.HasSuffix(base, "_test"))
}

// hasTox tells whether tox.ini is tox's: other tools keep their settings in it, too.
func (s *search) hasTox(d *dir) bool {
	text := s.read(d, "tox.ini")
	return strings.Contains(text, "[testenv") || strings.Contains(text, "[tox]")
}

// inVenv installs something and runs what it brings.
func inVenv(packages, script string) []Step {
	return sh("python3 -m venv .venv", ".venv/bin/pip install "+packages, script)
}

// pythonTests runs the tests with the tool that manages the project.
func (s *search) pythonTests(d *dir, pyproject string, f *Finding) []Step {
	usesPytest := strings.Contains(pyproject, "pytest")
	_, isPoetry := tomlTable(pyproject, "tool.poetry")
	switch lock := s.uvLock(d); {
	case lock != "":
		f.Notes = append(f.Notes, lock+" says uv")
		run := "uv run pytest"
		if !usesPytest {
			run = "uv run --with pytest pytest"
		}
		return sh("uv sync --locked", run)
	case isPoetry || d.files["poetry.lock"]:
		steps := sh("poetry install", "poetry run pytest")
		if !usesPytest {
			steps = slices.Insert(steps, 1, Step{Sh: "poetry run pip install pytest"})
		}
		return steps
	}
	packages := pipPackages(d, pyproject)
	if d.files["manage.py"] && !s.mentionsPytest(d) {
		f.Notes = append(f.Notes, "manage.py runs the tests: nothing mentions pytest")
		if len(packages) == 0 {
			packages = []string{"django"}
		}
		return inVenv(strings.Join(packages, " "), ".venv/bin/python manage.py test")
	}
	return inVenv(strings.Join(append(packages, "pytest"), " "), ".venv/bin/python -m pytest")
}

// uvLock is the lock file of uv for a project: its own, or that of the workspace above it.
func (s *search) uvLock(d *dir) string {
	const lock = "uv.lock"
	for _, up := range d.above() {
		_, isWorkspace := tomlTable(s.read(up, "pyproject.toml"), "tool.uv.workspace")
		if up.files[lock] && (up == d || isWorkspace) {
			return up.at(lock)
		}
	}
	return ""
}

// requirementFiles are those that tests need.
func requirementFiles() []string {
	return []string{"requirements.txt", "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt",
		"requirements-test.txt", "requirements_test.txt", "test-requirements.txt"}
}

// pipPackages is what pip installs before the tests: what is required, and the project itself.
func pipPackages(d *dir, pyproject string) []string {
	var out []string
	for _, name := range requirementFiles() {
		if d.files[name] {
			out = append(out, "-r "+name)
		}
	}
	_, isProject := tomlTable(pyproject, "project")
	_, isBuilt := tomlTable(pyproject, "build-system")
	if isProject || isBuilt || d.files["setup.py"] {
		extras, _ := tomlTable(pyproject, "project.optional-dependencies")
		self := "-e ."
		for _, extra := range []string{"test", "tests", "testing", "dev"} {
			if tomlHas(extras, extra) {
				self = "-e '.[" + extra + "]'"
				break
			}
		}
		out = append(out, self)
	}
	return out
}

func (s *search) mentionsPytest(d *dir) bool {
	if d.first("pytest.ini", "conftest.py") != "" {
		return true
	}
	for _, name := range append(requirementFiles(), "pyproject.toml", "setup.py", "setup.cfg", "tox.ini") {
		if strings.Contains(s.read(d, name), "pytest") {
			return true
		}
	}
	return false
}
