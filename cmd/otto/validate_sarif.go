package main

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	pages "github.com/ottoci/otto/docs/errors"
	"github.com/ottoci/otto/pipeline"
)

// The parts of SARIF 2.1.0 that we write: what code scanning reads, and editors that know nothing of Otto.
type (
	sarif struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string    `json:"id"`
		ShortDescription     sarifText `json:"shortDescription"`
		Help                 sarifText `json:"help"`
		DefaultConfiguration struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID     string            `json:"ruleId"`
		RuleIndex  int               `json:"ruleIndex"`
		Level      string            `json:"level"`
		Message    sarifText         `json:"message"`
		Locations  []sarifLocation   `json:"locations"`
		Properties map[string]string `json:"properties,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation struct {
			ArtifactLocation sarifArtifact `json:"artifactLocation"`
			Region           sarifRegion   `json:"region"`
		} `json:"physicalLocation"`
	}
	sarifArtifact struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndLine     int `json:"endLine"`
		EndColumn   int `json:"endColumn"`
	}
)

// newSARIF writes diagnostics as the log of one run. Its rules are the codes that occur, each with its page.
func newSARIF(version string, all pipeline.Diagnostics) sarif {
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "otto", Version: version, Rules: sarifRules(all)}},
		ColumnKind: "unicodeCodePoints",
		Results:    make([]sarifResult, 0, len(all)),
	}
	for _, d := range all {
		result := sarifResult{
			RuleID: string(d.Code), Level: sarifLevel(d.Severity), Message: sarifText{Text: d.Message}, Locations: make([]sarifLocation, 1),
			RuleIndex: slices.IndexFunc(run.Tool.Driver.Rules, func(r sarifRule) bool { return r.ID == string(d.Code) }),
		}
		place := &result.Locations[0].PhysicalLocation
		place.ArtifactLocation = artifact(d.File)
		place.Region = sarifRegion{StartLine: d.Line, StartColumn: d.Column, EndLine: d.Line, EndColumn: d.EndColumn}
		if d.Suggestion != "" {
			result.Properties = map[string]string{"suggestion": d.Suggestion}
		}
		run.Results = append(run.Results, result)
	}
	return sarif{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	}
}

func sarifRules(all pipeline.Diagnostics) []sarifRule {
	out := []sarifRule{}
	for _, c := range pipeline.Codes() {
		if !slices.ContainsFunc(all, func(d pipeline.Diagnostic) bool { return d.Code == c.Code }) {
			continue
		}
		page, _ := pages.Of(string(c.Code))
		rule := sarifRule{
			ID: string(c.Code), ShortDescription: sarifText{Text: c.Title},
			Help: sarifText{Text: paintPage(style{}, page), Markdown: markdown(page)},
		}
		rule.DefaultConfiguration.Level = sarifLevel(c.Severity)
		out = append(out, rule)
	}
	return out
}

// sarifLevel is the format's word for a severity.
func sarifLevel(s pipeline.Severity) string {
	if s == pipeline.SeverityHint {
		return "note"
	}
	return string(s)
}

// artifact names a file relative to the working directory, which readers take as the root of the sources.
func artifact(path string) sarifArtifact {
	if filepath.IsAbs(path) {
		if dir, err := os.Getwd(); err == nil {
			if below, err := filepath.Rel(dir, path); err == nil && !strings.HasPrefix(below, "..") {
				path = below
			}
		}
	}
	if filepath.IsAbs(path) {
		return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()}
	}
	u := url.URL{Path: filepath.ToSlash(path)}
	return sarifArtifact{URI: u.String(), URIBaseID: "%SRCROOT%"}
}
