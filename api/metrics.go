package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts what this node does. It is served on a listener of its own, not by the public handler.
type metrics struct {
	registry    *prometheus.Registry
	transitions *prometheus.CounterVec
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	waiting     prometheus.GaugeFunc
	claims      prometheus.Counter
	granted     prometheus.Counter
	streams     prometheus.Gauge
}

func newMetrics(a *API) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "otto_transitions_total",
			Help: "Transitions that this node has called with success, by the name of the SQL function."}, []string{"name"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "otto_http_requests_total",
			Help: "Requests answered, by operation and status."}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "otto_http_request_seconds",
			Help:    "Time to answer, by operation. Held requests and streams count with all their time.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 40}}, []string{"operation"}),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "otto_dispatcher_waiters",
			Help: "Agents whose request for work this node holds."}, func() float64 { return float64(a.dispatch.waiting()) }),
		claims: prometheus.NewCounter(prometheus.CounterOpts{Name: "otto_dispatcher_claims_total",
			Help: "Calls of otto.task_lease by this node."}),
		granted: prometheus.NewCounter(prometheus.CounterOpts{Name: "otto_dispatcher_granted_total",
			Help: "Leases that this node has granted."}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "otto_streams",
			Help: "Streams of events and logs that this node serves."}),
	}
	m.registry.MustRegister(m.transitions, m.requests, m.seconds, m.waiting, m.claims, m.granted, m.streams, depth{a})
	return m
}

// request counts an answered request; operation is empty for what is not in the route table.
func (m *metrics) request(operation string, status int, took time.Duration) {
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(operation).Observe(took.Seconds())
}

// transition counts a transition; an empty name is a read.
func (m *metrics) transition(name string) {
	if name != "" {
		m.transitions.WithLabelValues(name).Inc()
	}
}

// depth reads the queue when it is asked, at each scrape.
type depth struct{ api *API }

// depthPatience bounds a scrape: a monitoring system must not wait for a database that is in trouble.
const depthPatience = 2 * time.Second

func depthGauges() []*prometheus.Desc {
	return []*prometheus.Desc{
		prometheus.NewDesc("otto_tasks_ready", "Tasks that wait for an agent, in the whole installation.", nil, nil),
		prometheus.NewDesc("otto_leases_active", "Leases that are not over, in the whole installation.", nil, nil),
		prometheus.NewDesc("otto_agents_online", "Agents online, in the whole installation.", nil, nil),
		prometheus.NewDesc("otto_oldest_ready_seconds", "How long the task that waits longest has been ready.", nil, nil),
	}
}

// Describe is for prometheus.
func (d depth) Describe(out chan<- *prometheus.Desc) {
	for _, gauge := range depthGauges() {
		out <- gauge
	}
}

// Collect is for prometheus. Without an answer from the database the gauges are absent, which is the truth.
func (d depth) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), depthPatience)
	defer cancel()
	row, err := d.api.users.QueueDepth(ctx)
	if err != nil {
		d.api.log.DebugContext(ctx, "queue depth was not read", "error", err)
		return
	}
	values := []float64{float64(row.Ready), float64(row.Leased), float64(row.Agents), row.OldestReadySeconds}
	for i, gauge := range depthGauges() {
		out <- prometheus.MustNewConstMetric(gauge, prometheus.GaugeValue, values[i])
	}
}

// MetricsHandler serves the node's metrics for Prometheus.
func (a *API) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{})
}
