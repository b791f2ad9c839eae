package api

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html docs.css
var docsFiles embed.FS

// documents are what describes the API, made once.
type documents struct{ json, yaml, page, style []byte }

// registerDocs makes the document of all operations and serves it. The page for people is made from it here: it needs no
// script, and nothing from another server.
func (a *API) registerDocs(mux *http.ServeMux) error {
	maps.DeleteFunc(a.huma.OpenAPI().Components.Schemas.Map(), func(name string, _ *huma.Schema) bool { return strings.HasPrefix(name, foreign) })
	var err error
	if a.document.json, err = json.MarshalIndent(a.huma.OpenAPI(), "", "  "); err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	if a.document.yaml, err = a.huma.OpenAPI().YAML(); err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	if a.document.page, err = docsPage(a.huma.OpenAPI()); err != nil {
		return fmt.Errorf("write the docs page: %w", err)
	}
	if a.document.style, err = docsFiles.ReadFile("docs.css"); err != nil {
		return err
	}
	a.serve(mux, "openapi-json", "application/openapi+json", a.document.json)
	a.serve(mux, "openapi-yaml", "application/openapi+yaml", a.document.yaml)
	a.serve(mux, "docs-show", "text/html; charset=utf-8", a.document.page)
	a.serve(mux, "docs-style", "text/css; charset=utf-8", a.document.style)
	return nil
}

// serve answers a route of the table with the same bytes always. It is not part of the document.
func (a *API) serve(mux *http.ServeMux, operation, contentType string, body []byte) {
	row, ok := a.table.take(operation)
	if !ok {
		return
	}
	mux.HandleFunc(row.pattern(), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	})
}

// OpenAPI is the document of all operations, in YAML.
func (a *API) OpenAPI() []byte { return a.document.yaml }

// docsOperation is one operation as the page shows it.
type docsOperation struct {
	*huma.Operation
	Permission any
	Body       string
	Answers    []docsAnswer
}

type docsAnswer struct{ Status, Type, Schema string }

// docsPage writes the page for people.
func docsPage(document *huma.OpenAPI) ([]byte, error) {
	page, err := template.New("docs.html").Funcs(template.FuncMap{"schemaName": schemaName}).ParseFS(docsFiles, "docs.html")
	if err != nil {
		return nil, err
	}
	type schema struct {
		Name   string
		Schema *huma.Schema
	}
	var schemas []schema
	for name, s := range document.Components.Schemas.Map() {
		schemas = append(schemas, schema{name, s})
	}
	slices.SortFunc(schemas, func(a, b schema) int { return cmp.Compare(a.Name, b.Name) })
	var out bytes.Buffer
	err = page.Execute(&out, map[string]any{"Info": document.Info, "Operations": docsOperations(document), "Schemas": schemas})
	return out.Bytes(), err
}

func docsOperations(document *huma.OpenAPI) []docsOperation {
	var list []docsOperation
	for _, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op != nil {
				list = append(list, describe(op))
			}
		}
	}
	slices.SortFunc(list, func(a, b docsOperation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return list
}

func describe(op *huma.Operation) docsOperation {
	d := docsOperation{Operation: op, Permission: op.Extensions["x-otto-permission"]}
	if op.RequestBody != nil {
		for contentType, media := range op.RequestBody.Content {
			d.Body = contentType
			if media.Schema != nil {
				d.Body = strings.TrimSpace(contentType + " " + schemaName(media.Schema))
			}
		}
	}
	for status, response := range op.Responses {
		if !strings.HasPrefix(status, "2") {
			continue
		}
		for contentType, media := range response.Content {
			d.Answers = append(d.Answers, docsAnswer{status, contentType, schemaName(media.Schema)})
		}
	}
	slices.SortFunc(d.Answers, func(a, b docsAnswer) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Type, b.Type))
	})
	return d
}

// schemaName is what a reader calls a schema.
func schemaName(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	case s.Type == huma.TypeArray:
		return "list of " + schemaName(s.Items)
	case s.Format != "":
		return s.Format
	}
	return s.Type
}
