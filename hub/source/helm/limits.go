package helm

const (
	defaultMaxIndex = 50 << 20
	defaultMaxChart = 10 << 20
	defaultMaxFile  = 5 << 20
	defaultCache    = 256 << 20
)

// Limits of what is read, in bytes. Zero means the default, which are Flux's.
type Limits struct {
	// Index is the size of an index; 50 MiB. --helm-index-max-size.
	Index int64
	// Chart is the size of a package; 10 MiB. --helm-chart-max-size.
	Chart int64
	// File is the size of a file in a chart; 5 MiB.
	// --helm-chart-file-max-size.
	File int64
}

func (l Limits) orDefaults() Limits {
	if l.Index == 0 {
		l.Index = defaultMaxIndex
	}
	if l.Chart == 0 {
		l.Chart = defaultMaxChart
	}
	if l.File == 0 {
		l.File = defaultMaxFile
	}
	return l
}
