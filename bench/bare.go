package bench

import (
	"context"
	"os/exec"
	"time"
)

// The bare ways from cause to effect: the commits that cannot be left out, and a shell. They are taken in turns with
// Otto's own, on the same machine under the same load.

// bareTaken is a task inserted and claimed.
func (c *clocks) bareTaken(ctx context.Context) (float64, error) {
	return timed(ctx, c.insert, c.claim)
}

// bareFirst is a task inserted and claimed, and the first instruction of a shell.
func (c *clocks) bareFirst(ctx context.Context) (float64, error) {
	return timed(ctx, c.insert, c.claim, c.shell)
}

// bareHandOn is a task finished, and the next claimed.
func (c *clocks) bareHandOn(ctx context.Context) (float64, error) {
	if err := c.insert(ctx); err != nil {
		return 0, err
	}
	return timed(ctx, c.finish, c.claim)
}

// bareStages is a task finished, the next claimed, and the first instruction of a shell.
func (c *clocks) bareStages(ctx context.Context) (float64, error) {
	if err := c.insert(ctx); err != nil {
		return 0, err
	}
	return timed(ctx, c.finish, c.claim, c.shell)
}

// timed does one thing after the other, and answers the milliseconds of all.
func timed(ctx context.Context, acts ...func(context.Context) error) (float64, error) {
	began := time.Now()
	for _, act := range acts {
		if err := act(ctx); err != nil {
			return 0, err
		}
	}
	return ms(time.Since(began)), nil
}

func (c *clocks) insert(ctx context.Context) error {
	_, err := c.s.floor.pool.Exec(ctx, floorInsert, 1)
	return err
}

func (c *clocks) claim(ctx context.Context) (err error) {
	c.claimed, err = c.s.floor.claim(ctx, 1)
	return err
}

func (c *clocks) finish(ctx context.Context) error {
	_, err := c.s.floor.pool.Exec(ctx, floorFinish, c.claimed)
	return err
}

// shell starts a shell and waits for its first instruction, not for its end.
func (c *clocks) shell(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", c.marks.say("bare"))
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err := c.marks.next(ctx)
	_ = cmd.Wait() // it has said what it had to say
	return err
}
