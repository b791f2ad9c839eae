package conventions

import (
	"regexp"
	"strings"
)

var (
	rakeDefault = regexp.MustCompile(`(?m)^\s*task\s*\(?\s*(:default|"default"|'default'|default:)`)
	rakeTests   = regexp.MustCompile(`(?m)TestTask|^\s*task\s*\(?\s*(:test|"test"|'test'|test:)`)
)

// ruby recognises Rails, RSpec and Rake, with the gems of Bundler.
func (s *search) ruby(d *dir) {
	marker := d.first("Gemfile", "Rakefile")
	if marker == "" {
		return
	}
	f := Finding{Kind: kindRuby, Marker: d.at(marker), Task: Task{Minutes: 30}}
	run := ""
	if marker == "Gemfile" {
		run = "bundle exec "
		f.Task.Steps = sh("bundle install")
		f.Task.Env = append(f.Task.Env, Variable{"BUNDLE_PATH", "vendor/bundle"})
		if d.files["Gemfile.lock"] {
			f.Task.Env = append(f.Task.Env, Variable{"BUNDLE_FROZEN", "true"})
		} else {
			f.Notes = append(f.Notes, "no Gemfile.lock: bundler takes the newest gems")
		}
	}
	var tests []Step
	if d.files["Gemfile"] && d.firstIn("bin", "rails") != "" {
		f.Notes = append(f.Notes, "bin/rails: a Rails application")
		f.Task.Env = append(f.Task.Env, Variable{"RAILS_ENV", "test"})
		tests = railsTests(d)
	} else {
		tests = s.rubyTests(d, run)
	}
	if len(tests) == 0 {
		s.leaveOut(d.at(marker), "no tests were found (test, spec, or a default task in the Rakefile)")
		return
	}
	f.Task.Steps = append(f.Task.Steps, tests...)
	s.find(d, f)
}

// railsTests prepares the database, if there is one, and runs what there is of tests and specs.
func railsTests(d *dir) []Step {
	var steps []Step
	if d.firstIn("config", "database.yml", "database.yml.erb") != "" {
		steps = sh("bin/rails db:test:prepare")
	}
	n := len(steps)
	if d.subdirs["test"] {
		steps = append(steps, sh("bin/rails test")...)
	}
	if d.subdirs["spec"] {
		steps = append(steps, sh("bundle exec rspec")...)
	}
	if len(steps) == n {
		return nil
	}
	return steps
}

func (s *search) rubyTests(d *dir, run string) []Step {
	rakefile := s.read(d, "Rakefile")
	isSpec := func(name string) bool { return strings.HasSuffix(name, "_spec.rb") }
	switch {
	case rakeDefault.MatchString(rakefile):
		return sh(run + "rake")
	case rakeTests.MatchString(rakefile):
		return sh(run + "rake test")
	case d.files[".rspec"] || d.subdirs["spec"] && d.holds(isSpec, "Gemfile"):
		return sh(run + "rspec")
	}
	return nil
}
