package db

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Topics that transitions wake.
const (
	TopicReady = "ready" // a task became ready
	TopicAbort = "abort" // an agent is to be told to stop
	TopicEvent = "event"
	TopicLog   = "log"
	// TopicAuction: there is news for orchestrators.
	TopicAuction = "auction"
)

// Wakeups tells subscribers to look now. A wake-up may be lost (a broken connection, a shared NOTIFY): whoever waits
// must also look from time to time.
type Wakeups struct {
	mu      sync.Mutex
	subs    map[string][]chan struct{}
	hearing atomic.Bool
	known   string // whose wake-ups to look for work come by another way
}

// Hearing says whether the database is listened to, as far as is known: a connection that broke without a word shows
// within 15 s.
func (w *Wakeups) Hearing() bool { return w.hearing.Load() }

// NewWakeups has no source yet; see Listen. Wake works from the start.
func NewWakeups() *Wakeups { return &Wakeups{subs: map[string][]chan struct{}{}} }

// Know says that whoever commits through a pool wakes the subscribers himself, and after the commit: then the database's word of
// the same is not passed on, where it would only make them look twice. The pool must be one that Open gave.
func (w *Wakeups) Know(pool *pgxpool.Pool) { w.known = nameOf(pool) }

// isEcho says whether a wake-up tells what is known.
func (w *Wakeups) isEcho(topic, whose string) bool {
	return whose == w.known && whose != "" && (topic == TopicReady || topic == TopicAbort)
}

// Subscribe gives a channel that gets a value when the topic is woken; wake-ups that come before it is read are one.
func (w *Wakeups) Subscribe(topic string) (c <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subs[topic] = append(w.subs[topic], ch)
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.subs[topic] = slices.DeleteFunc(w.subs[topic], func(o chan struct{}) bool { return o == ch })
	}
}

// Wake wakes the subscribers in this process.
func (w *Wakeups) Wake(topics ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range topics {
		for _, ch := range w.subs[topic] {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

// Listen hears the database's wake-ups until ctx ends, on a connection of its own. It pings the connection, because a
// half-open one looks like silence, and wakes everybody after each reconnect.
func (w *Wakeups) Listen(ctx context.Context, url string) {
	for ctx.Err() == nil {
		err := w.listenOnce(ctx, url)
		if ctx.Err() != nil {
			return
		}
		slog.DebugContext(ctx, "lost the listening connection", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(100*time.Millisecond + rand.N(900*time.Millisecond)):
		}
	}
}

func (w *Wakeups) listenOnce(ctx context.Context, url string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	config.ConnectTimeout = 5 * time.Second
	config.RuntimeParams["role"] = AppRole
	config.RuntimeParams["application_name"] = "otto listen"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	topics := []string{TopicReady, TopicAbort, TopicEvent, TopicLog, TopicAuction}
	if _, err := conn.Exec(ctx, "listen otto_"+strings.Join(topics, "; listen otto_")); err != nil {
		return err
	}
	w.hearing.Store(true)
	defer w.hearing.Store(false)
	w.Wake(topics...)
	for {
		if err := w.hear(ctx, conn); err != nil {
			return err
		}
	}
}

// hear waits up to 10 s for one wake-up; silence is followed by a ping that must be answered within 5 s.
func (w *Wakeups) hear(ctx context.Context, conn *pgx.Conn) error {
	quiet, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	n, err := conn.WaitForNotification(quiet)
	if err == nil {
		if topic := strings.TrimPrefix(n.Channel, "otto_"); !w.isEcho(topic, n.Payload) {
			w.Wake(topic)
		}
		return nil
	}
	if quiet.Err() == nil || ctx.Err() != nil {
		return err
	}
	pinging, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return conn.Ping(pinging)
}
