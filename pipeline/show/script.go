package show

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// Script writes a task as a POSIX shell script that does by hand what an agent would do: the same steps, in the same order,
// with the same variables, directories and meaning of exit codes. The task is named as an outline names it; digest is its plan's.
func Script(p *pipeline.Plan, task, digest string) (string, error) {
	at, err := findTask(p, task)
	if err != nil {
		return "", err
	}
	s := script{at: at, later: map[string]string{}}
	for _, l := range at.task.Later {
		s.later[l.Field] = l.Expr
	}
	s.head(digest)
	s.environment()
	for i := range at.task.Steps {
		s.step(i)
	}
	s.b.WriteString(scriptTail)
	return s.b.String(), nil
}

// someNames is how many tasks a message lists.
const someNames = 10

// findTask finds a task by its name; the name before a matrix does if there is but one leg.
func findTask(p *pipeline.Plan, name string) (placed, error) {
	var names, legs []string
	var leg placed
	for _, at := range tasksOf(p) {
		if at.task.Name == name {
			return at, nil
		}
		if at.task.Base == name {
			leg, legs = at, append(legs, at.task.Name)
		}
		names = append(names, at.task.Name)
	}
	switch len(legs) {
	case 1:
		return leg, nil
	case 0:
		return placed{}, fmt.Errorf("the plan has no task %q; it has %s", name, listed(names))
	}
	return placed{}, fmt.Errorf("the task %s has %d legs; name one of %s", name, len(legs), listed(legs))
}

func listed(names []string) string {
	if n := len(names) - someNames; n > 0 {
		return strings.Join(names[:someNames], ", ") + fmt.Sprintf(" and %d more", n)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

type script struct {
	b     strings.Builder
	at    placed
	later map[string]string // what is left to be decided, by field of the task
}

func (s *script) line(format string, args ...any) { fmt.Fprintf(&s.b, format+"\n", args...) }

// say writes a line unless it is empty.
func (s *script) say(text string) {
	if text != "" {
		s.b.WriteString(text + "\n")
	}
}

// comment writes text where a shell reads none of it.
func (s *script) comment(format string, args ...any) {
	s.line("# %s", clean(oneLine(fmt.Sprintf(format, args...))))
}

func (s *script) head(digest string) {
	t := s.at.task
	s.line("#!/bin/sh")
	s.comment("Task %s of stage %s, to be run by hand at the root of a clean checkout.", t.Name, s.at.stage.Name)
	s.comment("Plan %s", digest)
	s.line("#")
	switch verdict, why := s.at.fate(); verdict {
	case pipeline.VerdictFalse:
		s.comment("In this plan it does not run: %s", why)
	case pipeline.VerdictLater:
		s.comment("Whether it runs is decided at run time: %s", why)
	}
	if t.Image != "" {
		s.comment("An agent runs it in the container %s.", t.Image)
		for _, service := range t.Services {
			s.comment("Beside it runs the service %s of %s.", service.Name, service.Image)
		}
	}
	if len(t.Requires) > 0 {
		s.comment("An agent must offer %s.", RequiresText(t.Requires))
	}
	s.comment("An agent stops it after %s.", Milliseconds(t.TimeoutMS))
	if t.Retries != nil {
		s.comment("It is tried again: %s.", retriesText(t.Retries))
	}
	s.line("# An agent gives it the variables below, PATH, HOME and the numbers of its run (OTTO_RUN …), and no others of its host.")
	s.line("#")
	s.line("# It ends with 0 if the task succeeds, 1 if it fails, 2 if it is aborted, 3 if it is unstable.")
	if t.AllowFailure {
		s.line("# Its failure is allowed: for the run it counts as a success, with a warning.")
	}
	s.b.WriteString(scriptHead)
}

const scriptHead = `
_otto_worst=1 # 1 succeeded, 2 unstable, 3 aborted, 4 failed
_otto_halted=
_otto_dir=$(mktemp -d) || exit 1
trap 'rm -rf "$_otto_dir"' EXIT
mkdir "$_otto_dir/tmp"

# The worst outcome of the steps is the task's. After a failure, only steps marked always run.
_otto_ended() {
    [ "$1" -le "$_otto_worst" ] || _otto_worst=$1
    [ "$1" -lt 3 ] || _otto_halted=yes
}

export LANG=C.UTF-8 LC_ALL=C.UTF-8 TMPDIR="$_otto_dir/tmp"
export CI=true OTTO=true OTTO_ATTEMPT=1 OTTO_WORKSPACE="$PWD" OTTO_OUTPUT="$_otto_dir/output"
`

const scriptTail = `
case $_otto_worst in
    1) exit 0 ;; # succeeded
    2) exit 3 ;; # unstable
    3) exit 2 ;; # aborted
    *) exit 1 ;; # failed
esac
`

func (s *script) environment() {
	s.line("export OTTO_STAGE=%s OTTO_TASK=%s", shellQuote(s.at.stage.Name), shellQuote(s.at.task.Name))
	for _, v := range s.variables(s.at.task.Env, "/env/", "") {
		s.say(v.ask)
		s.say(v.export)
	}
}

// variable is how a script gets a variable.
type variable struct {
	ask    string // ends the script with a message unless it is given; empty for what is known
	export string
}

// variableName is what a shell can set.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variables exports what is known, and asks for what is not. A step asks under another name for what its task has, too.
func (s *script) variables(env map[string]string, field, elsewhere string) (list []variable) {
	names := slices.Collect(maps.Keys(env))
	for f := range s.later {
		if name, ok := strings.CutPrefix(f, field); ok && !slices.Contains(names, unescape(name)) {
			names = append(names, unescape(name))
		}
	}
	slices.Sort(names)
	for _, name := range names {
		later, isLater := s.later[field+escape(name)]
		_, inTask := s.at.task.Env[name]
		switch {
		case !variableName.MatchString(name):
			list = append(list, variable{export: "# a shell cannot set " + oneLine(name)})
		case !isLater:
			list = append(list, variable{export: "export " + name + "=" + shellQuote(env[name])})
		case elsewhere != "" && (inTask || s.later["/env/"+escape(name)] != ""):
			list = append(list, variable{ask(elsewhere+name, later), fmt.Sprintf(`export %s="$%s%s"`, name, elsewhere, name)})
		default:
			list = append(list, variable{ask(name, later), "export " + name})
		}
	}
	return list
}

// ask ends the script with a message unless a variable is set. The quotes keep the shell from reading the expression.
func ask(name, expr string) string {
	return fmt.Sprintf(": ${%s?%s}", name, shellQuote("is decided at run time: "+oneLine(expr)))
}

func (s *script) step(i int) {
	step := &s.at.task.Steps[i]
	verdict, why := FateOfStep(s.at.task, i)
	s.line("")
	s.comment("Step %d: %s", i+1, step.Name)
	if step.TimeoutMS > 0 {
		s.comment("Its timeout is %s.", Milliseconds(step.TimeoutMS))
	}
	if verdict == pipeline.VerdictFalse {
		s.comment("It does not run: %s", why)
		for text := range strings.Lines(step.Sh) {
			s.line("#   %s", clean(strings.ReplaceAll(strings.TrimRight(text, "\r\n"), "\r", " ")))
		}
		return
	}
	var conditions []string
	if !step.Always {
		conditions = append(conditions, `[ -z "$_otto_halted" ]`)
	}
	if verdict == pipeline.VerdictLater {
		name := fmt.Sprintf("STEP_%d_RUNS", i+1)
		s.say(ask(name, s.openQuestion(i)+"; true or false"))
		conditions = append(conditions, `[ "$`+name+`" = true ]`)
	}
	if len(conditions) > 0 {
		s.line("if %s; then", strings.Join(conditions, " && "))
	}
	s.run(step, i)
	if len(conditions) > 0 {
		s.line("fi")
	}
}

// openQuestion is what is left of a step's condition.
func (s *script) openQuestion(i int) string {
	if left := s.later[fmt.Sprintf("/steps/%d/when", i)]; left != "" {
		return left
	}
	when := s.at.task.Steps[i].When
	if when.Residual != "" {
		return when.Residual
	}
	return when.Expr
}

// run writes a step that runs: its script into a file, its shell below its directory and variables, and what its end means.
func (s *script) run(step *pipeline.Step, i int) {
	variables := s.variables(step.Env, fmt.Sprintf("/steps/%d/env/", i), fmt.Sprintf("STEP_%d_", i+1))
	for _, v := range variables {
		s.say(v.ask)
	}
	mark := delimiter(step.Sh)
	s.line(`cat >"$_otto_dir/script" <<'%s'`, mark)
	s.b.WriteString(strings.TrimSuffix(step.Sh, "\n") + "\n")
	s.line("%s", mark)
	dir := ""
	if step.Dir != "" {
		dir = shellQuote("./" + step.Dir)
		s.line("if [ ! -d %s ]; then", dir)
		s.line("    echo 'the workspace has no directory '%s >&2", shellQuote(step.Dir))
		s.line("    _otto_ended %s", s.ended("failed", step))
		s.line("else")
	}
	s.line("(")
	if dir != "" {
		s.line("    cd %s", dir)
	}
	s.line("    export OTTO_STEP=%s", shellQuote(step.Name))
	for _, v := range variables {
		s.line("    %s", v.export)
	}
	s.line(`    exec %s "$_otto_dir/script"`, shellWords(step.Shell))
	s.line(") </dev/null")
	s.line("case $? in")
	for _, code := range sortedCodes(step.ExitCodes) {
		s.line("    %s) _otto_ended %s ;; # %s", code, s.ended(step.ExitCodes[code], step), oneLine(step.ExitCodes[code]))
	}
	s.line("    *) _otto_ended %s ;; # failed", s.ended("failed", step))
	s.line("esac")
	if dir != "" {
		s.line("fi")
	}
}

// ended is the number of an outcome; one that is allowed counts as a success.
func (s *script) ended(outcome string, step *pipeline.Step) string {
	number, ok := map[string]string{"succeeded": "1", "unstable": "2", "aborted": "3"}[outcome]
	switch {
	case step.AllowFailure:
		return "1"
	case !ok:
		return "4"
	}
	return number
}
