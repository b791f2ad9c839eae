package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/orchestrator"
)

// badOrchestrator is an orchestrator that breaks one rule, so that the conformance test can be seen to notice:
//
//	spins    asks for demand again and again, without saying what it knows
//	dreams   takes what it wins, and starts nothing
//	clings   stops no agent that it has started
//	guesses  bids for every task that there might be
//	forgets  does not keep its credential
//	drops    ends at once when it is asked to, whatever it has won
//	stays    does not end when it is asked to
func badOrchestrator() {
	if err := misbehave(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "badorchestrator:", err)
		os.Exit(1)
	}
}

func misbehave(how string) error {
	env := readEnvironment(os.Environ())
	offer := client.OrchestratorOffer{Name: "bad", Templates: []client.Template{{Name: "t", Offers: map[string]any{"os": "linux"}, Instances: 4}}}
	state := filepath.Join(env.dataDir, "credential.json")
	if how == "forgets" {
		state = filepath.Join(env.dataDir, fmt.Sprint("credential-", os.Getpid()))
	}
	c, err := orchestrator.Identity{URL: env.url, EnrolToken: env.enrolToken, StateFile: state, Offer: offer}.Connect(context.Background())
	if err != nil {
		return err
	}
	program, err := ottoBeside()
	if err != nil {
		return err
	}
	provider := orchestrator.Provider(&orchestrator.Local{URL: env.url, Program: program, Dir: filepath.Join(env.dataDir, "agents"), Env: os.Environ(), Log: slog.New(slog.DiscardHandler)})
	switch how {
	case "spins":
		return spin(c, offer)
	case "guesses":
		return guess(c, offer)
	case "dreams":
		provider = dreamer{}
	case "clings":
		provider = clinger{provider}
	}
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		switch how {
		case "drops":
			os.Exit(0)
		case "stays":
		default:
			stop()
		}
	}()
	return orchestrator.New(orchestrator.Config{Client: c, Offer: offer, Provider: provider, Limit: 4, Idle: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}).Run(ctx, ctx)
}

// ottoBeside finds otto where this program was found.
func ottoBeside() (string, error) {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), string(os.PathListSeparator)) {
		if path := filepath.Join(dir, "otto"); strings.Contains(dir, "testscript") {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no otto in %s", os.Getenv("PATH"))
}

func spin(c *client.Client, offer client.OrchestratorOffer) error {
	if _, err := c.OrchestratorHello(context.Background(), offer); err != nil {
		return err
	}
	for {
		if _, err := c.OrchestratorDemand(context.Background(), client.DemandOptions{}); err != nil {
			return err
		}
	}
}

func guess(c *client.Client, offer client.OrchestratorOffer) error {
	ctx := context.Background()
	if _, err := c.OrchestratorHello(ctx, offer); err != nil {
		return err
	}
	for {
		if _, err := c.OrchestratorHeartbeat(ctx); err != nil {
			return err
		}
		for n := range int64(5) {
			_, err := c.BidPlace(ctx, client.BidPlace{Auction: n + 1, Task: n + 1, Template: "t"})
			if err != nil && !client.IsStatus(err, http.StatusConflict) && !client.IsStatus(err, http.StatusNotFound) {
				return err
			}
		}
		<-time.After(50 * time.Millisecond)
	}
}

// dreamer starts nothing.
type dreamer struct{}

type dream struct{ orchestrator.Order }

func (dreamer) Start(_ context.Context, o orchestrator.Order) (orchestrator.Instance, error) {
	return dream{o}, nil
}
func (dreamer) Recover(context.Context) ([]orchestrator.Instance, error) { return nil, nil }

func (d dream) Name() string          { return d.Order.Name }
func (d dream) Award() string         { return d.Order.Award }
func (d dream) Done() <-chan struct{} { return nil }
func (d dream) Drain()                {}
func (d dream) Kill()                 {}

// clinger stops nothing.
type clinger struct{ orchestrator.Provider }

type clung struct{ orchestrator.Instance }

func (c clinger) Start(ctx context.Context, o orchestrator.Order) (orchestrator.Instance, error) {
	i, err := c.Provider.Start(ctx, o)
	return clung{i}, err
}

func (clung) Drain() {}
func (clung) Kill()  {}
