package conventions

import (
	"path"
	"regexp"
)

// jvm recognises Maven and Gradle. In one directory they build the same code, so one of them is enough.
func (s *search) jvm(d *dir) {
	gradle := d.first("settings.gradle", "settings.gradle.kts", "build.gradle", "build.gradle.kts")
	switch {
	case !d.files["pom.xml"] && gradle == "":
	case gradle == "":
		s.maven(d)
	case !d.files["pom.xml"]:
		s.gradle(d, gradle)
	case d.files["mvnw"] && !d.files["gradlew"]:
		s.leaveOut(d.at(gradle), "Maven has a wrapper here, so pom.xml counts")
		s.maven(d)
	default:
		s.leaveOut(d.at("pom.xml"), "%s is here, too, and one of them is enough", gradle)
		s.gradle(d, gradle)
	}
}

var mavenModule = regexp.MustCompile(`<(?:module|subproject)>\s*([^<>]+?)\s*</`)

func (s *search) maven(d *dir) {
	marker := d.at("pom.xml")
	for _, up := range d.above()[1:] {
		if !s.mavenLists(up, d) {
			continue
		}
		if f := s.finding(kindMaven, up); f != nil {
			f.Covers = append(f.Covers, marker)
			return
		}
		// The parent is a module itself: who covers it covers this.
		for _, f := range s.found {
			for _, covered := range f.Covers {
				if f.Kind == kindMaven && covered == up.at("pom.xml") {
					f.Covers = append(f.Covers, marker)
					return
				}
			}
		}
	}
	script := "mvn -B verify"
	if d.files["mvnw"] {
		script = "./mvnw -B verify"
	}
	s.find(d, Finding{Kind: kindMaven, Marker: marker, Task: Task{Minutes: 45, Steps: sh(script)}})
}

// mavenLists tells whether a pom.xml names a directory, or the pom.xml in it, as its module.
func (s *search) mavenLists(up, d *dir) bool {
	for _, m := range mavenModule.FindAllStringSubmatch(s.read(up, "pom.xml"), -1) {
		if at := path.Join(up.path, m[1]); at == d.path || at == d.at("pom.xml") {
			return true
		}
	}
	return false
}

func (s *search) gradle(d *dir, marker string) {
	settings := d.first("settings.gradle", "settings.gradle.kts")
	if settings == "" {
		for _, up := range d.above()[1:] {
			if f := s.finding(kindGradle, up); f != nil {
				f.Covers = append(f.Covers, d.at(marker))
				return
			}
		}
	}
	script := "gradle --no-daemon build"
	if d.files["gradlew"] {
		script = "./gradlew --no-daemon build"
	}
	s.find(d, Finding{Kind: kindGradle, Marker: d.at(marker), Task: Task{Minutes: 45, Steps: sh(script)}})
}
