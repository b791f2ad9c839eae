package client

import "time"

// The orchestrator protocol: plain JSON over HTTP. An orchestrator is a program that starts agents on demand. It enrols once with a
// one-time token, says hello at each start with the templates of agents that it can start, and then asks for demand again and again:
// each answer is everything that it acts upon, so nothing depends on what it has heard before. See docs/orchestrators.md.

// Template is a kind of agent that an orchestrator can start.
type Template struct {
	Name      string         `json:"name" minLength:"1" maxLength:"100"`
	Offers    map[string]any `json:"offers" doc:"Capabilities of an agent that is started from it, as in an agent's offers."`
	Price     float64        `json:"price" minimum:"0" maximum:"1000000000" doc:"Per hour, in whatever unit the installation counts."`
	StartMS   int64          `json:"start_ms,omitempty" minimum:"0" maximum:"86400000" doc:"How long a start takes."`
	Instances int            `json:"instances" minimum:"0" maximum:"100000" doc:"The most agents of it at once."`
	Protocol  []string       `json:"protocol,omitempty" doc:"Features of the agent protocol that its agents know; all that this server knows if absent."`
}

// OrchestratorOffer is what an orchestrator says of itself.
type OrchestratorOffer struct {
	Name      string     `json:"name" minLength:"1" maxLength:"100" doc:"Shown to people; need not be unique."`
	Version   string     `json:"version" maxLength:"100" doc:"Version of the orchestrator program."`
	Templates []Template `json:"templates" maxItems:"1000" doc:"What it can start; what it offered before and does not name any more is offered no more."`
}

// Orchestrator is a program that starts agents.
type Orchestrator struct {
	Orchestrator   int64      `json:"orchestrator"`
	Name           string     `json:"name"`
	State          string     `json:"state" enum:"online,offline,disabled"`
	Version        string     `json:"version"`
	Agents         int        `json:"agents" doc:"Agents that it has started and that live."`
	Awards         int        `json:"awards" doc:"Awards for which it is starting agents."`
	Templates      []Template `json:"templates"`
	SuspendedUntil *time.Time `json:"suspended_until,omitempty" doc:"It could not start what it had won, and bids no more until then."`
	SeenAt         time.Time  `json:"seen_at"`
	Enrolled       time.Time  `json:"enrolled_at"`
}

// OrchestratorEnrolled is the answer to an enrolment. The token is shown this once.
type OrchestratorEnrolled struct {
	Orchestrator Orchestrator         `json:"orchestrator"`
	Token        string               `json:"token" doc:"The orchestrator's credential."`
	Settings     OrchestratorSettings `json:"settings"`
}

// OrchestratorWelcome answers hello and heartbeats.
type OrchestratorWelcome struct {
	Orchestrator int64                `json:"orchestrator" doc:"Its number."`
	Settings     OrchestratorSettings `json:"settings"`
}

// OrchestratorSettings are the server's rules for an orchestrator.
type OrchestratorSettings struct {
	HeartbeatMS   int64 `json:"heartbeat_ms" doc:"Let hear of you this often, by a heartbeat or by asking for demand."`
	SilenceMS     int64 `json:"silence_ms" doc:"Who was not heard of for this long wins nothing."`
	WindowMS      int64 `json:"window_ms" doc:"How long auctions are open; 0: there are none."`
	AwardWithinMS int64 `json:"award_within_ms" doc:"How long a start may take if a bid asks for no more."`
}

// Demand is everything that an orchestrator acts upon.
type Demand struct {
	Version        string              `json:"version" doc:"Give it as known: the next answer comes when there is something new."`
	WindowMS       int64               `json:"window_ms" doc:"0: there are no auctions, and demand is to be served at once."`
	AwardWithinMS  int64               `json:"award_within_ms"`
	SuspendedUntil *time.Time          `json:"suspended_until,omitempty"`
	Demand         []Lot               `json:"demand" doc:"Without auctions: tasks that no agent with room fits and its templates do, the oldest first. Start an agent with enrolment-create."`
	Auctions       []OpenAuction       `json:"auctions" doc:"Open auctions of tasks that its templates fit. Bid with bid-place."`
	Awards         []LivingAward       `json:"awards" doc:"What it has won, and whose agent has not come. Start an agent with award-take."`
	Ended          []EndedAward        `json:"ended" doc:"Awards that came to nothing in the last 10 minutes. Stop what was started for them."`
	Agents         []OrchestratorAgent `json:"agents" doc:"The agents that it has started and that live."`
}

// Lot is a task that an agent is wanted for.
type Lot struct {
	Task      int64          `json:"task"`
	Run       int64          `json:"run"`
	Project   string         `json:"project"`
	Stage     string         `json:"stage"`
	Name      string         `json:"name"`
	Requires  map[string]any `json:"requires"`
	ReadyAt   time.Time      `json:"ready_at"`
	Templates []string       `json:"templates" doc:"The orchestrator's templates that fit and have room, the cheapest first."`
	Bids      []OwnBid       `json:"bids,omitempty" doc:"What the orchestrator has bid already."`
}

// OwnBid is a bid as its bidder sees it.
type OwnBid struct {
	Bid      int64   `json:"bid"`
	Template string  `json:"template"`
	Cost     float64 `json:"cost"`
}

// OpenAuction is an auction in which an orchestrator can bid.
type OpenAuction struct {
	Auction  int64     `json:"auction"`
	ClosesAt time.Time `json:"closes_at"`
	Tasks    []Lot     `json:"tasks"`
}

// LivingAward is a bid that has won.
type LivingAward struct {
	Award    string    `json:"award" format:"uuid"`
	Auction  int64     `json:"auction"`
	Task     int64     `json:"task"`
	Run      int64     `json:"run"`
	Template string    `json:"template"`
	StartBy  time.Time `json:"start_by" doc:"By then the agent must have said hello."`
	Taken    bool      `json:"taken" doc:"A token was made for its agent. It may be taken again: the token before is worth nothing then."`
	Agent    *int64    `json:"agent,omitempty" doc:"The agent that has enrolled for it."`
}

// EndedAward is an award that came to nothing.
type EndedAward struct {
	Award  string `json:"award" format:"uuid"`
	Task   int64  `json:"task"`
	Reason string `json:"reason" enum:"late,returned,lost,unfit,aborted"`
}

// OrchestratorAgent is an agent that an orchestrator has started.
type OrchestratorAgent struct {
	Agent    int64  `json:"agent"`
	Name     string `json:"name"`
	State    string `json:"state" enum:"online,draining"`
	Template string `json:"template"`
	Busy     int    `json:"busy" doc:"Leases it holds."`
}

// EnrolmentCreate asks for a token with which an agent enrols.
type EnrolmentCreate struct {
	Template string `json:"template" minLength:"1" maxLength:"100"`
}

// Enrolment is a token with which one agent enrols. It is shown this once.
type Enrolment struct {
	Token     string     `json:"token"`
	Template  string     `json:"template,omitempty"`
	Award     string     `json:"award,omitempty" doc:"What the agent will be granted."`
	Task      int64      `json:"task,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// BidPlace offers to start an agent for a task of an auction.
type BidPlace struct {
	Auction    int64    `json:"auction" minimum:"1"`
	Task       int64    `json:"task" minimum:"1"`
	Template   string   `json:"template" minLength:"1" maxLength:"100"`
	Price      *float64 `json:"price,omitempty" minimum:"0" maximum:"1000000000" doc:"Per hour; the template's if absent."`
	EstimateMS *int64   `json:"estimate_ms,omitempty" minimum:"0" maximum:"31536000000" doc:"How long the task will take. If absent: the median of its last 20 successes on the template, or 60 s."`
	WithinMS   *int64   `json:"within_ms,omitempty" minimum:"1" maximum:"86400000" doc:"How long the start may take; award_within_ms at least."`
}

// Bid is an offer to start an agent for a task.
type Bid struct {
	Bid          int64     `json:"bid"`
	Orchestrator string    `json:"orchestrator,omitempty"`
	Template     string    `json:"template,omitempty"`
	State        string    `json:"state" enum:"placed,won,revoked"`
	Price        float64   `json:"price" doc:"Per hour."`
	EstimateMS   int64     `json:"estimate_ms"`
	EstimatedBy  string    `json:"estimated_by" enum:"bidder,history,default"`
	StartMS      int64     `json:"start_ms" doc:"How long a start takes, by the template."`
	WithinMS     int64     `json:"within_ms" doc:"How long the start may take."`
	Cost         float64   `json:"cost" doc:"Price × estimate. The lowest wins; of equal ones the earliest."`
	PlacedAt     time.Time `json:"placed_at"`
}

// Award is a bid that has won, and what became of it.
type Award struct {
	Award        string     `json:"award" format:"uuid"`
	Bid          int64      `json:"bid"`
	Orchestrator string     `json:"orchestrator"`
	Template     string     `json:"template"`
	Because      string     `json:"because" doc:"Why this bid."`
	AwardedAt    time.Time  `json:"awarded_at"`
	StartBy      time.Time  `json:"start_by"`
	Agent        *int64     `json:"agent,omitempty"`
	EndedAt      *time.Time `json:"ended_at,omitempty"`
	EndReason    string     `json:"end_reason,omitempty" enum:"started,late,returned,lost,unfit,aborted"`
}

// AwardReturn gives an award back.
type AwardReturn struct {
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// Auction is one task's part of an auction, with its bids and awards.
type Auction struct {
	Auction  int64      `json:"auction"`
	Run      int64      `json:"run"`
	Stage    string     `json:"stage"`
	Task     int64      `json:"task"`
	Name     string     `json:"name" doc:"Name of the task."`
	State    string     `json:"state" enum:"open,completed,failed,void"`
	Round    int        `json:"round" doc:"Counts the auctions of this task."`
	Outcome  string     `json:"outcome,omitempty" enum:"awarded,no_bids,gone"`
	OpenedAt time.Time  `json:"opened_at"`
	ClosesAt time.Time  `json:"closes_at"`
	ClosedAt *time.Time `json:"closed_at,omitempty"`
	Bids     []Bid      `json:"bids" doc:"The cheapest first."`
	Awards   []Award    `json:"awards" doc:"The first one first: those before the last came to nothing."`
}
