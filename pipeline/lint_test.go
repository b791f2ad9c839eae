package pipeline

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func scriptCodes(script string) []Code {
	var codes []Code
	for _, f := range lintScript(script) {
		codes = append(codes, f.code)
	}
	return codes
}

func TestLintScript(t *testing.T) {
	t.Parallel()
	for code, scripts := range map[Code][]string{
		cdFirst: {
			"cd web\nmake test || exit 1\n", "cd ./web/app && npm test", `cd "my app" || exit 1; ./build`,
		},
		setDefault:    {"set -e\n./build", "# build\n\nset -o errexit\n./build", "set -e; ./build"},
		hiddenFailure: {"./report || true", "./a && ./b || :", "./report 2>&1 | tail -1 || true\n"},
		leftProcess:   {"./server &", "./build\nnohup ./server > log 2>&1 &\nsleep 5\necho started"},
		sudoUsed:      {"sudo make install || exit 1", "if ./needed; then\n  sudo ./x\nfi", "DEBUG=1 sudo ./x", "x=$(sudo cat /etc/shadow)"},
		pipedDownload: {
			"curl -fsSL https://x.example | sh", "wget -qO- https://x.example | sudo bash -s -- --yes", "curl https://x.example | tr a b | bash -x",
			`sh -c "$(curl -fsSL https://x.example)"`, "bash <(curl -s https://x.example)", `eval "$(curl https://x.example)"`,
			"curl https://x.example | python3 -", ". <(wget -qO- https://x.example)",
		},
		secretInLog: {
			`echo $API_TOKEN`, `echo "the key: ${AWS_SECRET_ACCESS_KEY}"`, `printf '%s\n' "$password"`, `if ./x; then echo "$DB_PASSWORD" >&2; fi`,
			`echo "${TOKEN:-none}"`, `echo "$NPM_TOKEN" 2>/dev/null`,
		},
	} {
		for _, script := range scripts {
			if got := scriptCodes(script); !slices.Contains(got, code) {
				t.Errorf("%q gives %v, want %s", script, got, code)
			}
		}
	}
}

// What looks like a bad habit, and is none.
func TestLintScriptKeepsQuiet(t *testing.T) {
	t.Parallel()
	for _, script := range []string{
		"cd web", "cd /tmp && ./x", "cd .. && ./x", `cd "$DIR" && ./x`, "cd web && ./x && cd ../api && ./y", "(cd web && ./x)", "cd -\n./x",
		"cd ~ && ./x", "cd web || cd site\n./x", "./x\ncd web\n./y", "cd && ./x", "cd web* && ./x", "pushd web\n./x\npopd", "! cd web\n./x",
		"set -eu\n./x", "set -ex\n./x", "set +e\n./x\nset -e\n./y", "./x\nset -e\n", "set -e x\n./x",
		"rm -f x || true\n./build", "./x || false", "./x || true > y", "! ./x || true | cat", "./x || ./y", "true || ./x",
		"./server &\n./test", "./a &\n./b &\nwait", "./server &\npid=$!\n./test\nkill $pid", "./a & wait $!", "(./a &)",
		"command -v sudo", "echo sudo", "if command -v sudo; then ./x; fi", "./sudo x", "pseudo x",
		"curl -o x https://x.example && sh x", "curl https://x.example | tar xz", "curl https://x.example | python3 -m json.tool",
		"curl https://x.example | python3 -c 'import sys'", "curl https://x.example | sh filter.sh", "cat x | sh", "curl https://x.example | perl -pe 's/a/b/'",
		`./deploy "$(curl https://x.example)"`, `bash deploy "$(curl https://x.example)"`, "python3 report.py <(curl https://x.example)", "curl x; sh y",
		`echo "$TOKEN" | docker login --password-stdin x`, `echo "$SSH_PRIVATE_KEY" > key.pem`, `x=$(echo "$TOKEN" | base64)`, `echo ${TOKEN:+set}`,
		`echo ${#TOKEN}`, `echo "$TOKEN_FILE"`, `echo "$TOKENS_USED"`, `printf -v x %s "$TOKEN"`, `echo '$TOKEN'`, `echo "$KEYBOARD $MONKEY"`,
		`{ echo "$TOKEN"; } | ./x`, `echo "$(./mask "$TOKEN")"`, "echo password", `./x "$TOKEN"`, `echo "$TOKEN" &> x`, `cat <(echo "$TOKEN")`,
		"", "# only a comment", "true", ":", "#!/usr/bin/env python3\ncd web && (",
	} {
		if got := scriptCodes(script); len(got) > 0 {
			t.Errorf("%q gives %v", script, got)
		}
	}
}

func TestLongScripts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lines string
		long  bool
	}{
		{strings.Repeat("      ./x\n", 20), false},
		{strings.Repeat("      ./x\n", 21), true},
		{strings.Repeat("      ./x\n\n      # why\n", 20), false},
	} {
		_, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte("steps:\n  - sh: |\n" + c.lines)}, Facts{})
		if long := len(diags) == 1 && diags[0].Code == longScript; long != c.long {
			t.Errorf("%d lines give: %s", strings.Count(c.lines, "\n"), diags)
		}
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	with, without := "      - {task: a%d, timeout: 5m, steps: [{sh: ./x}]}\n", "      - {task: b%d, steps: [{sh: ./x}]}\n"
	for _, c := range []struct{ with, without, want int }{
		{0, 3, 0}, {1, 1, 0}, {1, 2, 0}, {2, 1, 1}, {5, 3, 3}, {3, 0, 0},
	} {
		var b strings.Builder
		b.WriteString("stages:\n  - parallel:\n")
		for i := range c.with {
			fmt.Fprintf(&b, with, i)
		}
		for i := range c.without {
			fmt.Fprintf(&b, without, i)
		}
		_, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte(b.String())}, Facts{})
		if len(diags) != c.want {
			t.Errorf("%d with and %d without a timeout give:\n%s", c.with, c.without, diags)
		}
		for _, d := range diags {
			if d.Code != noTimeout || !strings.HasSuffix(d.Snippet, " ^^") {
				t.Errorf("gives %s", d)
			}
		}
	}
}

// What a script is told depends on what runs it.
func TestLintKnowsTheShell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, step string
		want       []Code
	}{
		{"another_language", "sh: \"import os\\nif (\"\n        shell: python3", nil},
		{"the_default", "sh: set -e; ./x", []Code{setDefault}},
		{"a_shell_with_e", "sh: set -e; ./x\n        shell: bash", []Code{setDefault}},
		{"a_shell_without_e", "sh: set -e; sudo ./x\n        shell: [/bin/bash, --norc]", []Code{sudoUsed}},
		{"root_in_a_container", "sh: sudo ./x\n    image: \"golang:1.26\"", nil},
		{"the_shell_of_the_task", "sh: if (\n    shell: python3", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte("stages:\n  - stage: a\n    steps:\n      - " + c.step + "\n")}, Facts{})
			var got []Code
			for _, d := range diags {
				got = append(got, d.Code)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("gives %v, want %v:\n%s", got, c.want, diags)
			}
		})
	}
}

// Our own Ottofile has none of the habits that we advise against.
func TestOwnOttofile(t *testing.T) {
	t.Parallel()
	if _, diags := Compile(File{Name: "Ottofile.yaml", Data: readFile(t, "../Ottofile.yaml")}, Facts{}); len(diags) > 0 {
		t.Error(diags)
	}
}

func TestAllowComments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		want       []Code
	}{
		{"on_the_line", "steps:\n  - sh: sudo ./x # otto: allow OTTO1213\n", nil},
		{"on_the_line_above", "steps:\n  # otto: allow OTTO1213 the image lets us\n  - sh: sudo ./x\n", nil},
		{"above_other_comments", "steps:\n  # otto: allow OTTO1213\n  # because\n  - sh: sudo ./x\n", nil},
		{"in_the_script", "steps:\n  - sh: |\n      ./y\n      sudo ./x   #otto:allow OTTO1213\n", nil},
		{"above_in_the_script", "steps:\n  - sh: |\n      ./y\n      # otto: allow OTTO1213\n      sudo ./x\n", nil},
		{"several", "steps:\n  - sh: cd web && sudo ./x # otto: allow OTTO1212, OTTO1213\n", nil},
		{"one_of_two", "steps:\n  - sh: cd web && sudo ./x # otto: allow OTTO1212\n", []Code{sudoUsed}},
		{"older_codes_too", "steps:\n  - sh: make # otto: allow OTTO1201\n", nil},
		{"another_code", "steps:\n  - sh: sudo ./x # otto: allow OTTO1212\n", []Code{sudoUsed}},
		{"another_line", "# otto: allow OTTO1213\nsteps:\n  - sh: sudo ./x\n", []Code{sudoUsed}},
		{"behind_the_line_above", "steps: # otto: allow OTTO1213\n  - sh: sudo ./x\n", []Code{sudoUsed}},
		{"no_comment", "steps:\n  - sh: 'sudo ./x \"otto: allow OTTO1213\"'\n", []Code{sudoUsed}},
		{"no_code", "steps:\n  - sh: ./x # otto: allow sudo\n", []Code{uselessAllow}},
		{"an_unknown_code", "steps:\n  - sh: ./x # otto: allow OTTO9999\n", []Code{uselessAllow}},
		{"an_error", "steps:\n  - sh: ./x\n    bad: 1 # otto: allow OTTO1012\n", []Code{unknownKey}},
		{"a_word_that_starts_alike", "steps:\n  - sh: ./x # otto: allowance\n    allow_failure: true\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte(c.file)}, Facts{})
			var got []Code
			for _, d := range diags {
				got = append(got, d.Code)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("gives %v, want %v:\n%s", got, c.want, diags)
			}
		})
	}
}

// A typical Ottofile, from its bytes to all that is said about it.
func BenchmarkValidateTypical(b *testing.B) {
	data, err := os.ReadFile("testdata/typical.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if plan, diags := Compile(File{Name: "Ottofile.yaml", Data: data}, Facts{}); plan == nil || diags.String() != "" {
			b.Fatal(diags)
		}
	}
}
