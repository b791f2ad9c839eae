package pipeline

// The kinds of problems of what a task asks of its agent.
const (
	badSize      Code = "OTTO1480"
	badRange     Code = "OTTO1481"
	lossyVersion Code = "OTTO1482"
	badPool      Code = "OTTO1483"
)

// placementCodes are the rows of these kinds in the table.
func placementCodes() []CodeInfo {
	return []CodeInfo{
		{badSize, SeverityError, "A size cannot be read"},
		{badRange, SeverityError, "A version range cannot be read"},
		{lossyVersion, SeverityWarning, "A version is written as a number"},
		{badPool, SeverityError, "The name of a pool cannot be used"},
	}
}
