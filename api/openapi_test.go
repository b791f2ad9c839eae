package api

import (
	"bytes"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/store"
)

var update = flag.Bool("update", false, "write openapi.yaml anew")

// unconnected is an API whose database is never asked.
func unconnected(t *testing.T) *API {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?connect_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	a, err := New(Config{Pool: pool, Store: &store.Store{}, Name: "alone", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenAPIDocumentIsCheckedIn(t *testing.T) {
	t.Parallel()
	got := unconnected(t).OpenAPI()
	if again := unconnected(t).OpenAPI(); !bytes.Equal(got, again) {
		t.Fatal("two documents of the same program differ")
	}
	if *update {
		if err := os.WriteFile("openapi.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("openapi.yaml is out of date: go test ./api -run OpenAPI -update\n%s", diff)
	}
}

// documented are the routes of the table that the document describes.
func documented(a *API) []route {
	var list []route
	for _, row := range routes() {
		item := a.huma.OpenAPI().Paths[row.path]
		if item == nil {
			continue
		}
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op != nil && op.OperationID == row.operation {
				list = append(list, row)
			}
		}
	}
	return list
}

// TestClientIsTheDocument calls the client's method of every documented operation against a server that takes notes.
func TestClientIsTheDocument(t *testing.T) {
	t.Parallel()
	a := unconnected(t)
	rows := documented(a)
	undocumented := []string{"docs-show", "docs-style", "openapi-json", "openapi-yaml", "run-cancel"}
	if want := len(routes()) - len(undocumented); len(rows) != want {
		t.Fatalf("%d operations are documented, want %d: all but %v", len(rows), want, undocumented)
	}
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.URL.Path)
		mu.Unlock()
		if strings.Contains(r.Header.Get("Accept"), typeStream) {
			w.Header().Set("Content-Type", typeStream)
			_, _ = w.Write([]byte("event: end\ndata: {}\n\n"))
			return
		}
		_, _ = w.Write([]byte("{}"))
	}))
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		name := camel(row.operation)
		method := reflect.ValueOf(c).MethodByName(name)
		if !method.IsValid() {
			t.Errorf("operation %s has no method %s on the client", row.operation, name)
			continue
		}
		mu.Lock()
		seen = nil
		mu.Unlock()
		results := method.Call(arguments(t, method.Type()))
		if err, _ := results[len(results)-1].Interface().(error); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		mu.Lock()
		if len(seen) != 1 || !patternOf(row).MatchString(seen[0]) {
			t.Errorf("%s sent %q, the document says %s", name, seen, row.pattern())
		}
		mu.Unlock()
	}
}

// arguments are values for a method: ctx, and something for each parameter.
func arguments(t *testing.T, method reflect.Type) []reflect.Value {
	var in []reflect.Value
	for i := range method.NumIn() {
		kind := method.In(i)
		switch {
		case i == 0:
			in = append(in, reflect.ValueOf(t.Context()))
		case kind.Kind() == reflect.String:
			in = append(in, reflect.ValueOf("7"))
		case kind.Kind() == reflect.Interface:
			in = append(in, reflect.ValueOf(strings.NewReader("")))
		default:
			in = append(in, reflect.Zero(kind))
		}
	}
	return in
}

// patternOf matches the requests of a row.
func patternOf(row route) *regexp.Regexp {
	return regexp.MustCompile("^" + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(row.pattern(), `[^/]+`) + "$")
}

// camel is an operation id as a Go method's name.
func camel(operation string) string {
	var name strings.Builder
	for word := range strings.SplitSeq(operation, "-") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String()
}

func TestTableAndHandlersMustMatch(t *testing.T) {
	t.Parallel()
	table := newTable(slices.Concat(routes(), []route{{operation: "moon-land", method: "POST", path: "/v1/moon"}}))
	for _, row := range routes() {
		table.take(row.operation)
	}
	table.take("sun-land")
	table.take("run-show")
	wrong := table.check()
	if len(wrong) != 3 {
		t.Errorf("got %v, want: a handler without a row, a second handler, a row without a handler", wrong)
	}
}

func TestDocsPageNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	a := unconnected(t)
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/docs", nil))
	page := w.Body.String()
	if w.Code != 200 || !strings.Contains(page, `id="run-abort"`) {
		t.Fatalf("%d %.200s", w.Code, page)
	}
	if found := regexp.MustCompile(`<script|style=|https?://|src=`).FindString(page); found != "" {
		t.Errorf("the page has %q, which its policy forbids", found)
	}
	for _, path := range []string{"/docs/style.css", "/openapi.json", "/openapi.yaml"} {
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
