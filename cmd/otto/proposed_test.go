package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ottoci/otto/pipeline/conventions"
)

// terminal gives both ends of a pseudo-terminal: the one a person sits at, and the one a program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal("no pseudo-terminals here:", err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func TestAgree(t *testing.T) {
	t.Parallel()
	file := &ottofile{dir: ".", data: []byte("steps: [{sh: make}]\n"), proposal: &conventions.Proposal{}}
	for answer, want := range map[string]error{
		"y\n": nil, "YES \n": nil, "\n": exit(codeFailed), "n\n": exit(codeFailed), "yesterday\n": exit(codeFailed), "\x04": exit(codeFailed),
	} {
		person, program := terminal(t)
		if _, err := io.WriteString(person, answer); err != nil {
			t.Fatal(err)
		}
		a := &app{stdin: program, stderr: program}
		a.showProposed(file)
		if err := a.agree(file); !errors.Is(err, want) {
			t.Errorf("the answer %q gives %v, want %v", answer, err, want)
		}
		shown := make([]byte, 4096)
		n, err := person.Read(shown)
		if err != nil {
			t.Fatal(err)
		}
		for n < len(shown) && !strings.Contains(string(shown[:n]), "[y/N] ") {
			more, err := person.Read(shown[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += more
		}
		if text := string(shown[:n]); !strings.Contains(text, "steps: [{sh: make}]") || strings.Count(text, "Run this?") != 1 {
			t.Errorf("the question is %q", text)
		}
	}
}

func TestAgree_without_a_question(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	a := &app{stdin: strings.NewReader("y\n"), stderr: &said}
	file := &ottofile{dir: ".", data: []byte("steps: []"), proposal: &conventions.Proposal{}}
	if err := a.agree(file); err == nil || !strings.Contains(hintOf(err), "--yes") || said.String() != "" {
		t.Errorf("without a terminal the answer is %v, and %q is said", err, said.String())
	}
	there := &ottofile{}
	a.showProposed(there)
	if err := a.agree(there); err != nil || said.String() != "" {
		t.Errorf("of a file that is there it says %q, %v", said.String(), err)
	}
}
