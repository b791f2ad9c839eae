package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Client calls an Otto server. It may be used by many goroutines. It sets no timeouts of its own: the context of each
// call says how long is too long, since a held request and a heartbeat differ a thousandfold.
type Client struct {
	base      string
	token     string
	http      *http.Client
	userAgent string
}

// Config says which server to call, and as whom.
type Config struct {
	URL        string       // the server's address, such as https://otto.example
	Token      string       // sent as a bearer token; none if empty
	HTTPClient *http.Client // http.DefaultClient if nil; give each kind of traffic its own to keep their connections apart
	UserAgent  string       // "otto" if empty
}

// maxAnswerBytes bounds what a broken or hostile server can make us hold in memory.
const maxAnswerBytes = 64 << 20

// New checks the address and makes a client; it connects to nothing yet.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("server address: %w", err)
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("server address %q is not an http or https URL", cfg.URL)
	}
	c := &Client{base: strings.TrimRight(cfg.URL, "/"), token: cfg.Token, http: cfg.HTTPClient, userAgent: cfg.UserAgent}
	if c.http == nil {
		c.http = http.DefaultClient
	}
	if c.userAgent == "" {
		c.userAgent = "otto"
	}
	return c, nil
}

// call does an operation whose answer is a T.
func call[T any](ctx context.Context, c *Client, op operation, in any) (T, error) {
	var out T
	err := c.do(ctx, op, in, &out)
	return out, err
}

// operation is where a request goes, and the headers it has beyond those of all.
type operation struct {
	method, path string
	header       http.Header
}

func (op operation) String() string { return op.method + " " + op.path }

func post(path string) operation { return operation{method: http.MethodPost, path: path} }
func get(path string) operation  { return operation{method: http.MethodGet, path: path} }

// with adds a header, unless its value is empty.
func (op operation) with(key, value string) operation {
	if value == "" {
		return op
	}
	op.header = op.header.Clone()
	if op.header == nil {
		op.header = http.Header{}
	}
	op.header.Set(key, value)
	return op
}

// do sends in as JSON, if it is not nil, and decodes the answer into out, if that is not nil.
func (c *Client) do(ctx context.Context, op operation, in, out any) error {
	resp, err := c.open(ctx, op, in)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(out); err != nil {
		return fmt.Errorf("%s: read answer: %w", op, err)
	}
	return nil
}

// open sends in as JSON and hands over the answer, whose body the caller closes. An answer that is not 2xx is an *Error.
func (c *Client) open(ctx context.Context, op operation, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s: encode: %w", op, err)
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, op.method, c.base+op.path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, op.header)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.send(req)
}

// send sends a request as us. An answer that is not 2xx is an *Error.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("User-Agent", c.userAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer drain(resp.Body)
		return nil, readError(resp)
	}
	return resp, nil
}

// drain reads the little that is left of an answer, so that its connection can be used again, and closes it.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	_ = body.Close()
}
