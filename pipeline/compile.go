package pipeline

// File is an Ottofile as it was read; Name is what diagnostics call it.
type File struct {
	Name string
	Data []byte
}

// Compile turns an Ottofile into its plan. The plan is nil if and only if the diagnostics have an error; they hold all
// problems of the file at once, as far as one does not hide the others.
func Compile(f File) (*Plan, Diagnostics) {
	r := newReport(newSource(f.Name, ""))
	root := parse(r, f.Data)
	if root == nil {
		return nil, r.sorted()
	}
	d := &decoder{report: r, lang: newLanguage()}
	file := decodeObject(d, d.lang.file, root)
	d.checkFile(root, &file)
	if r.hasErrors() {
		return nil, r.sorted()
	}
	plan := newLowering(r).plan(&file)
	lintFile(r, &file, plan)
	return plan, r.sorted()
}

// FindOttofile picks the Ottofile from the names of the files in a directory.
func FindOttofile(names []string) (string, bool) {
	for _, want := range []string{"Ottofile.yaml", "Ottofile.yml", "Ottofile"} {
		for _, name := range names {
			if name == want {
				return want, true
			}
		}
	}
	return "", false
}
