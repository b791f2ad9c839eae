package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ottoci/otto/pipeline"
)

// reason is a value of the plan and where it comes from.
type reason struct {
	Pointer string          `json:"pointer"`
	Value   json.RawMessage `json:"value"`
	Origin  pipeline.Origin `json:"origin"`
}

// reasonWriter writes reasons for people or as lines of JSON.
func (a *app) reasonWriter(asJSON bool) func(reason) error {
	if asJSON {
		return func(r reason) error { return a.printJSON(r) }
	}
	style := a.stdoutStyle()
	return func(r reason) error {
		_, err := fmt.Fprintf(a.stdout, "%s = %s  %s\n", r.Pointer, r.Value, style.dim(origin(r.Origin)))
		return err
	}
}

// explainWhy writes a value of the plan with its origin; for a part of the plan, the values below it.
func (a *app) explainWhy(body []byte, plan *pipeline.Plan, pointer string, write func(reason) error) error {
	pointer = "/" + strings.Trim(pointer, "/")
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		return err
	}
	var found []string
	for _, at := range sortedKeys(plan.Origins) {
		if at == pointer || pointer == "/" || strings.HasPrefix(at, pointer+"/") {
			found = append(found, at)
		}
	}
	if len(found) == 0 {
		return withHint(fmt.Errorf("the plan has no value at %s", pointer), "otto explain --why / lists all")
	}
	for _, at := range found {
		value, err := lookUp(doc, at)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if err := write(reason{Pointer: at, Value: encoded, Origin: plan.Origins[at]}); err != nil {
			return err
		}
	}
	return nil
}

var errNoValue = errors.New("there is no such value")

// lookUp follows a JSON pointer.
func lookUp(doc any, pointer string) (any, error) {
	for _, key := range strings.Split(pointer, "/")[1:] {
		key = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
		switch v := doc.(type) {
		case map[string]any:
			doc = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return nil, errNoValue
			}
			doc = v[i]
		default:
			return nil, errNoValue
		}
	}
	return doc, nil
}

// milliseconds writes a duration of the plan as an Ottofile would.
func milliseconds(ms int64) string {
	text := (time.Duration(ms) * time.Millisecond).String()
	text = strings.TrimSuffix(text, "0s") // 1h0m0s
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return first(text, "0s")
}
