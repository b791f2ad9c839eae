package client

// LogRecord is a segment of a log: bytes of a stream, or the begin or end of a step.
type LogRecord struct {
	ID       string `json:"id" doc:"Its place: resume after it with Last-Event-ID or after=."`
	Seq      int    `json:"seq" doc:"Number of the chunk it is in."`
	Step     int    `json:"step" doc:"Index of the step; -1 before the first."`
	Kind     string `json:"kind" enum:"begin,stdout,stderr,agent,end"`
	AtMS     int64  `json:"at_ms" doc:"Milliseconds since the task started."`
	Text     string `json:"text,omitempty" doc:"The bytes, where they are UTF-8."`
	Base64   []byte `json:"base64,omitempty" doc:"The bytes, where they are not."`
	State    string `json:"state,omitempty" doc:"On end: the step's state."`
	ExitCode *int   `json:"exit_code,omitempty" doc:"On end."`
}

// Bytes are what the program wrote.
func (r LogRecord) Bytes() []byte {
	if r.Base64 != nil {
		return r.Base64
	}
	return []byte(r.Text)
}

// LogPage is a part of a log.
type LogPage struct {
	Task     int64       `json:"task"`
	Attempt  int         `json:"attempt"`
	Lease    string      `json:"lease" format:"uuid"`
	Bytes    int64       `json:"bytes" doc:"Size of the whole log so far."`
	Lines    int64       `json:"lines" doc:"Line ends in the whole log so far."`
	Complete bool        `json:"complete" doc:"Nothing more will come."`
	Items    []LogRecord `json:"items"`
	Next     string      `json:"next,omitempty" doc:"Continue with after=; absent at the end of what there is."`
}

// LogEnd ends a stream of a log.
type LogEnd struct {
	Complete bool  `json:"complete" doc:"Nothing more will come; false if only the wanted part is over."`
	Bytes    int64 `json:"bytes"`
}
