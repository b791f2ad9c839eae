package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/ottoci/otto/client"
)

// outputName is the file in the task's directory to which its steps append: $OTTO_OUTPUT.
const outputName = "output"

// openOutput makes the file, if the task may have outputs, and keeps hold of its directory: a step can put something else in
// the directory's place.
func (t *task) openOutput() (err error) {
	if len(t.lease.Spec.Outputs) == 0 {
		return nil
	}
	if t.home, err = os.OpenRoot(t.path("")); err != nil {
		return err
	}
	file, err := t.home.OpenFile(outputName, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), t.own(outputName))
}

func (t *task) closeOutput() {
	if t.home != nil {
		_ = t.home.Close()
	}
}

// takeOutputs reads what the steps have left, once all of them have ended. What cannot be read fails the task: whoever waits
// for it would otherwise go on with less than was said.
func (t *task) takeOutputs() {
	if t.verdict != nil { // whatever there is may be half written
		return
	}
	data, err := t.readOutput()
	if err == nil {
		t.outputs, err = parseOutputs(t.lease.Spec.Outputs, data)
	}
	if err != nil {
		t.outputs, t.verdict = nil, err
		t.journal.say(-1, "%v", err)
	}
}

// readOutput reads the file, wherever steps have put it. It opens nothing but a regular file in the task's directory.
func (t *task) readOutput() ([]byte, error) {
	if t.home == nil {
		info, err := os.Lstat(t.path(outputName))
		if err == nil && (!info.Mode().IsRegular() || info.Size() > 0) {
			return nil, errors.New("a step has written outputs, and the task declares none")
		}
		return nil, nil
	}
	info, err := t.home.Lstat(outputName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("cannot read the outputs: a step has removed $OTTO_OUTPUT")
	case err != nil:
		return nil, fmt.Errorf("cannot read the outputs: %w", err)
	case !info.Mode().IsRegular():
		return nil, errNoFile
	}
	// It may be something else by now, such as a pipe that nobody writes to.
	file, err := t.home.OpenFile(outputName, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the outputs: %w", err)
	}
	defer file.Close()
	opened, err := file.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = errNoFile
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, client.MaxOutputs+1))
	if err == nil && len(data) > client.MaxOutputs {
		err = fmt.Errorf("$OTTO_OUTPUT holds more than %d KiB: put large results into a file", client.MaxOutputs>>10)
	}
	return data, err
}

var errNoFile = errors.New("cannot read the outputs: a step has made something else than a file of $OTTO_OUTPUT")

// parseOutputs reads lines of name=value, or JSON objects whose members are outputs. Later lines win.
func parseOutputs(declared map[string]string, data []byte) (map[string]any, error) {
	var outputs map[string]any
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			continue
		}
		found, err := parseOutput(declared, line)
		if err != nil {
			return nil, fmt.Errorf("$OTTO_OUTPUT, line %d: %w", number, err)
		}
		if outputs == nil {
			outputs = map[string]any{}
		}
		maps.Copy(outputs, found)
	}
	return outputs, client.CheckOutputs(declared, outputs)
}

// parseOutput reads one line. No message repeats a value: it may be a secret.
func parseOutput(declared map[string]string, line []byte) (map[string]any, error) {
	found := map[string]any{}
	if !utf8.Valid(line) {
		return nil, errors.New("this is not UTF-8")
	}
	if line[0] == '{' {
		if err := json.Unmarshal(line, &found); err != nil {
			return nil, fmt.Errorf("this is not a JSON object: %w", plainly(err))
		}
	} else {
		name, text, ok := strings.Cut(string(line), "=")
		if !ok {
			return nil, errors.New("this is neither name=value nor a JSON object")
		}
		value, err := valueOf(declared[name], text)
		if err != nil {
			return nil, fmt.Errorf("the output %s is declared as %s, and this is not JSON: %w", name, declared[name], plainly(err))
		}
		found[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if err := client.CheckOutput(declared, name, found[name]); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// valueOf reads the text of name=value: a string as it is, everything else as JSON.
func valueOf(kind, text string) (value any, err error) {
	if kind == client.OutputString || kind == "" {
		return text, nil
	}
	err = json.Unmarshal([]byte(text), &value)
	return value, err
}

// plainly is an error of encoding/json without the piece of input that some of them repeat.
func plainly(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("it is wrong at character %d", syntax.Offset)
	case errors.As(err, &kind):
		return errors.New("it has a number that is too large")
	}
	return errors.New("it cannot be read")
}
