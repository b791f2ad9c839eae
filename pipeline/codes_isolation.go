package pipeline

// The kinds of problems of how far a task is kept from the rest of its agent's machine.
const (
	badIsolation Code = "OTTO1450"
	badLimit     Code = "OTTO1451"
)

// isolationCodes are the rows of these kinds in the table.
func isolationCodes() []CodeInfo {
	return []CodeInfo{
		{badIsolation, SeverityError, "A level of isolation cannot be used"},
		{badLimit, SeverityError, "A limit cannot be used"},
	}
}
