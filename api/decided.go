package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline"
)

// settle puts what was decided about a task when it was about to start into its spec: decided is the values by their JSON
// pointers in the task. A step whose condition is false is omitted; spec is the task of the plan, which has the condition. Most
// tasks have nothing decided.
func settle(task *client.TaskSpec, spec, decided json.RawMessage) error {
	if len(decided) == 0 {
		return nil
	}
	var values map[string]any
	if err := json.Unmarshal(decided, &values); err != nil {
		return fmt.Errorf("what was decided cannot be read: %w", err)
	}
	var plan struct {
		Steps []struct {
			When *pipeline.Condition `json:"when"`
		} `json:"steps"`
	}
	if err := json.Unmarshal(spec, &plan); err != nil {
		return err
	}
	for _, field := range slices.Sorted(maps.Keys(values)) {
		if field == "/when" { // true: else the task would not start
			continue
		}
		if !settleField(task, field, values[field]) {
			return fmt.Errorf("what was decided for %s cannot be used", field)
		}
	}
	for i := range task.Steps {
		step := &task.Steps[i]
		if step.Omitted == falseCondition && i < len(plan.Steps) && plan.Steps[i].When != nil {
			step.Omitted = strings.Join(strings.Fields(plan.Steps[i].When.Expr), " ") + " is false"
		}
	}
	return nil
}

// falseCondition is why a step does not run, until its condition is named.
const falseCondition = "its condition is false"

// settleField puts in one value, if there is a place for it.
func settleField(task *client.TaskSpec, field string, value any) bool {
	parts := strings.Split(field, "/")
	for i := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
	}
	if len(parts) == 3 && parts[1] == "env" {
		return settleEnv(&task.Env, parts[2], value)
	}
	if len(parts) < 4 || parts[1] != "steps" {
		return false
	}
	n, err := strconv.Atoi(parts[2])
	if err != nil || n < 0 || n >= len(task.Steps) {
		return false
	}
	step := &task.Steps[n]
	switch {
	case len(parts) == 5 && parts[3] == "env":
		return settleEnv(&step.Env, parts[4], value)
	case len(parts) == 4 && parts[3] == "when":
		runs, ok := value.(bool)
		if ok && !runs && step.Omitted == "" {
			step.Omitted = falseCondition
		}
		return ok
	}
	return false
}

func settleEnv(env *map[string]string, name string, value any) bool {
	text, ok := value.(string)
	if !ok {
		return false
	}
	if *env == nil {
		*env = map[string]string{}
	}
	(*env)[name] = text
	return true
}
