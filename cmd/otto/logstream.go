package main

import (
	"context"

	"github.com/ottoci/otto/client"
)

// followLog passes on the log of an attempt to its end.
func followLog(ctx context.Context, c *client.Client, task int64, attempt int, add func(client.LogRecord)) error {
	return c.TaskLogFollow(ctx, task, attempt, "", func(r client.LogRecord) error {
		add(r)
		return nil
	})
}

// readLog passes on what there is of a log now.
func readLog(ctx context.Context, c *client.Client, task int64, attempt int, add func(client.LogRecord)) error {
	for after := ""; ; {
		page, err := c.TaskLogPage(ctx, task, client.LogOptions{Attempt: attempt, After: after})
		if err != nil {
			return err
		}
		for _, r := range page.Items {
			add(r)
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}
