package pipeline

// Limits are the settings of an installation that bound its plans. The zero value has the defaults.
type Limits struct {
	MatrixLegs int // of one matrix; 1000 if 0
}

func (l Limits) legs() int {
	if l.MatrixLegs > 0 {
		return l.MatrixLegs
	}
	return maxLegs
}
