package pipeline

import (
	"regexp"

	"github.com/invopop/jsonschema"
)

// poolText is the name of a pool, as the server makes them.
var poolText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func poolType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: poolText.String()} })()
}

// pool reads the name of a pool. Whether there is one is not known here: what asks for a pool that does not exist waits, and says so.
func (d *decoder) pool(n *node) val[string] {
	v, ok := d.str(n, "a pool")
	if !ok {
		return val[string]{}
	}
	if !poolText.MatchString(v.v) {
		d.add(badPool, n.at, "%q cannot be the name of a pool", shorten(v.v, 60)).Suggestion = "use letters, digits and ._- and begin with a letter or a digit; otto pool list shows those that exist"
		return val[string]{}
	}
	return v
}
