package api

import (
	"encoding/base64"
	"strconv"

	"github.com/ottoci/otto/client"
)

// Paging is a part of the input of every list. Lists are paged by key, so a page costs the same wherever it is.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" default:"50" doc:"Items on a page; more than 500 are not given."`
	Cursor string `query:"cursor" maxLength:"300" doc:"The page after this one: next of the page before."`
}

const maxPage = 500

// limit is one more than the page holds, to know whether there is another page.
func (p Paging) atMost() int32 { return int32(min(p.Limit, maxPage)) + 1 }

// key is what the cursor stands for; empty for the first page.
func (p Paging) key() (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return "", newProblem(codeInvalid, "the cursor %q is not one of this server", p.Cursor).hint("take it from next of the page before")
	}
	return string(key), nil
}

// number is what the cursor of a list by numbers stands for; 0 for the first page.
func (p Paging) number() (int64, error) {
	key, err := p.key()
	if err != nil || key == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(key, 10, 64)
	if err != nil {
		return 0, newProblem(codeInvalid, "the cursor %q is not one of this list", p.Cursor).hint("take it from next of the page before")
	}
	return n, nil
}

// pageOf makes a page of the rows that atMost asked for.
func pageOf[R, T any](p Paging, rows []R, encode func(R) T, key func(R) string) *pageOutput[T] {
	page := client.Page[T]{Items: []T{}}
	full := int(p.atMost()) - 1
	for i, row := range rows {
		if i == full {
			page.Next = base64.RawURLEncoding.EncodeToString([]byte(key(rows[i-1])))
			break
		}
		page.Items = append(page.Items, encode(row))
	}
	return &pageOutput[T]{Body: page}
}

// pageOutput is the answer of a list.
type pageOutput[T any] struct{ Body client.Page[T] }

// output is the answer of what is not a list.
type output[T any] struct{ Body T }

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
