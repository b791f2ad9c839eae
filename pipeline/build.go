package pipeline

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// builder turns the library's tree into nodes: aliases and merges resolved, duplicate keys noted.
type builder struct {
	*report
	anchors map[string]*node
	aliases int
	nodes   int // reached through aliases
	bytes   int
}

// node converts one value; it is never nil.
func (b *builder) node(n ast.Node) *node {
	switch n := n.(type) {
	case *ast.MappingNode:
		return b.mapping(n, n.Values, n.IsFlowStyle)
	case *ast.MappingValueNode:
		return b.mapping(n, []*ast.MappingValueNode{n}, false)
	case *ast.SequenceNode:
		return b.list(n)
	case *ast.AnchorNode:
		// Noted after its value is built: an anchor that contains itself is thus unknown where it is used.
		value := b.node(n.Value)
		b.anchors[n.Name.GetToken().Value] = value
		return value
	case *ast.AliasNode:
		return b.alias(n)
	case *ast.TagNode:
		return b.tag(n)
	case *ast.LiteralNode:
		return b.block(n)
	case nil:
		return &node{kind: nullKind, at: span{line: 1, column: 1}, size: 1}
	}
	return b.scalar(n)
}

func (b *builder) scalar(n ast.Node) *node {
	t := n.GetToken()
	out := &node{at: tokenSpan(t), text: t.Value, size: 1, bytes: len(t.Value)}
	switch {
	case t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType:
		out.kind, out.style = stringKind, quoted
	case t.Type == token.ImplicitNullType:
		out.kind, out.text, out.at.width = nullKind, "", 1
	default:
		out.kind = resolve(t.Value)
	}
	out.dynamic = strings.Contains(out.text, "${{")
	b.checkText(out)
	return out
}

func (b *builder) block(n *ast.LiteralNode) *node {
	text := n.Value.GetToken().Value
	out := &node{kind: stringKind, style: literal, at: tokenSpan(n.Start), text: text, size: 1, bytes: len(text), dynamic: strings.Contains(text, "${{")}
	if n.Start.Type == token.FoldedType {
		out.style = folded
	}
	return out
}

// tag allows !!str, which says "this is text, as written", and nothing else.
func (b *builder) tag(n *ast.TagNode) *node {
	value := b.node(n.Value)
	if n.Start.Value == "!!str" && value.isScalar() {
		copied := *value
		copied.kind = stringKind
		return &copied
	}
	b.add(foreignYAML, tokenSpan(n.Start), "tags (%s) are not used in an Ottofile", n.Start.Value).
		Suggestion = "quote the value to make it text"
	return &node{kind: brokenKind, at: value.at, size: 1}
}

func (b *builder) list(n *ast.SequenceNode) *node {
	out := &node{kind: listKind, at: tokenSpan(n.Start), size: 1}
	out.at.width = 1
	for _, v := range n.Values {
		item := b.node(v)
		out.items = append(out.items, item)
		out.size += item.size
		out.bytes += item.bytes
		out.dynamic = out.dynamic || item.dynamic
	}
	return out
}

func (b *builder) mapping(n ast.Node, values []*ast.MappingValueNode, braces bool) *node {
	out := &node{kind: mappingKind, at: tokenSpan(n.GetToken()), size: 1}
	out.at.width = 1
	if !braces && len(values) > 0 {
		// The library calls the first colon the start of a mapping; people look at its first key.
		out.at = tokenSpan(values[0].Key.GetToken())
	}
	seen := make(map[string]span, len(values))
	var merged []*node
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merged = append(merged, b.node(v.Value))
			continue
		}
		b.entry(out, seen, v)
	}
	for _, m := range merged {
		b.merge(out, m, seen)
	}
	return out
}

// entry adds one key with its value to a mapping.
func (b *builder) entry(out *node, seen map[string]span, v *ast.MappingValueNode) {
	if k, ok := v.Key.(*ast.MappingKeyNode); ok {
		b.add(foreignYAML, tokenSpan(k.Start), `keys that start with "?" are not used in an Ottofile`)
		out.kind = brokenKind
		return
	}
	key, value := b.node(v.Key), b.node(v.Value)
	if value.kind == nullKind && value.text == "" {
		value.at = key.at // nothing is written there; the library points anywhere
	}
	if first, twice := seen[key.text]; twice {
		b.add(duplicateKey, key.at, "the key %q is written twice; first at line %d, column %d", key.text, first.line, first.column)
		return
	}
	seen[key.text] = key.at
	out.pairs = append(out.pairs, pair{key, value})
	out.size += 1 + value.size
	out.bytes += len(key.text) + value.bytes
	out.dynamic = out.dynamic || value.dynamic || key.text == "when"
}

// merge adds the entries behind "<<" that the mapping does not have itself.
func (b *builder) merge(out, from *node, seen map[string]span) {
	switch from.kind {
	case listKind:
		for _, m := range from.items {
			b.merge(out, m, seen)
		}
	case mappingKind:
		for _, p := range from.pairs {
			if _, own := seen[p.key.text]; own {
				continue
			}
			seen[p.key.text] = p.key.at
			out.pairs = append(out.pairs, p)
			out.size += 1 + p.value.size
			out.bytes += len(p.key.text) + p.value.bytes
			out.dynamic = out.dynamic || p.value.dynamic || p.key.text == "when"
		}
	case brokenKind:
	default:
		b.add(badAlias, from.at, `"<<" merges mappings, and this is %s`, from.kind)
	}
}

// alias gives the anchor's value, as long as the file does not grow beyond its bounds by it.
func (b *builder) alias(n *ast.AliasNode) *node {
	at := tokenSpan(n.Start)
	name := n.Value.GetToken().Value
	at.width += firstLineWidth(name)
	nothing := &node{kind: brokenKind, at: at, size: 1}
	value, ok := b.anchors[name]
	if !ok {
		b.add(badAlias, at, "the alias *%s refers to no anchor before it", name).
			Suggestion = "write &" + name + " in front of the value it stands for"
		return nothing
	}
	b.aliases++
	b.nodes += value.size
	b.bytes += value.bytes
	if b.aliases > maxAliases || b.nodes > maxAliasedNodes || b.bytes > maxAliasedBytes {
		b.add(tooManyAliases, at, "aliases expand to too much: at most %d uses, %d values and %d bytes",
			maxAliases, maxAliasedNodes, maxAliasedBytes)
		return nothing
	}
	return value
}
