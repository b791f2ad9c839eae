package conventions

import "path"

// rust recognises crates and workspaces of crates.
func (s *search) rust(d *dir) {
	const marker = "Cargo.toml"
	if !d.files[marker] {
		return
	}
	text := s.read(d, marker)
	if crate, ok := tomlTable(text, "package"); ok {
		s.call(d, tomlString(crate, "name"))
	}
	if metadata, _ := tomlTable(text, "package.metadata"); tomlHas(metadata, "cargo-fuzz") {
		s.leaveOut(d.at(marker), "it is for cargo fuzz, which never ends")
		return
	}
	_, isWorkspace := tomlTable(text, "workspace")
	if root := s.cargoRoot(d); root != nil && !isWorkspace {
		root.Covers = append(root.Covers, d.at(marker))
		return
	}
	flags := ""
	if isWorkspace {
		flags = " --workspace"
	}
	f := Finding{Kind: kindRust, Marker: d.at(marker), Task: Task{Minutes: 30}}
	if d.files["Cargo.lock"] {
		flags += " --locked"
	} else {
		f.Notes = append(f.Notes, "no Cargo.lock: cargo takes the newest dependencies")
	}
	f.Task.Steps = sh("cargo build"+flags, "cargo test"+flags)
	s.find(d, f)
}

// cargoRoot is the workspace that a crate belongs to: cargo looks upwards for it, and a workspace names what it excludes.
func (s *search) cargoRoot(d *dir) *Finding {
	for _, up := range d.above()[1:] {
		table, ok := tomlTable(s.read(up, "Cargo.toml"), "workspace")
		if !ok {
			continue
		}
		for _, at := range d.above() {
			for _, name := range tomlList(table, "exclude") {
				if path.Join(up.path, name) == at.path {
					return nil
				}
			}
		}
		return s.finding(kindRust, up)
	}
	return nil
}
