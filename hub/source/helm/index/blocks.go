package index

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// An index in block form, as all tools write it:
//
//	apiVersion: v1
//	entries:
//	  nginx:
//	  - name: nginx
//	    version: 1.0.0
//
// Inside a version every line is indented more than its dash, whatever it is
// part of, but for blank lines and comments. So a line at the indentation of
// the dashes, of the charts, or of the first column begins something new. A text
// in quotes that breaks this rule, which some parsers let pass, ends up in two
// pieces that do not parse, and never as something else.

// errForm says that the index cannot be cut.
var errForm = fmt.Errorf("the index is larger than %d bytes and not in block form: serve it as JSON, or as helm repo index writes it", maxWhole)

// blocks cuts an index into versions.
type blocks struct {
	*parser
	// other is what stands beside the entries.
	other bytes.Buffer
	// item is the version that is being read.
	item bytes.Buffer
	// inEntries, and the indentations of charts and of dashes; -1 as long as
	// they are unknown.
	inEntries    bool
	charts, dash int
	inChart      bool
	// begun is whether anything but comments was there.
	begun bool
}

func (p *parser) readBlocks(r *bufio.Reader) error {
	b := &blocks{parser: p, charts: -1, dash: -1}
	for {
		line, err := readLine(r)
		if len(line) > 0 {
			if err := b.line(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := b.endChartBlock(); err != nil {
		return err
	}
	return b.others()
}

// readLine is ReadBytes with a limit.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) == 0 && err == nil {
			return part, nil
		}
		line = append(line, part...)
		if len(line) > maxEntry {
			return nil, fmt.Errorf("the index has a line of more than %d bytes", maxEntry)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (b *blocks) line(line []byte) error {
	text := bytes.TrimSpace(line)
	blank := len(text) == 0 || text[0] == '#'
	indent := len(line) - len(bytes.TrimLeft(line, " "))
	switch {
	case blank:
		return b.keep(line)
	case indent == 0:
		return b.topLevel(line, text)
	case !b.inEntries:
		return b.keep(line)
	}
	return b.entryLine(line, text, indent)
}

// entryLine is a line below entries.
func (b *blocks) entryLine(line, text []byte, indent int) error {
	if b.charts < 0 {
		b.charts = indent
	}
	isItem := b.inChart && (bytes.Equal(text, []byte("-")) || bytes.HasPrefix(text, []byte("- ")))
	if isItem && b.dash < 0 && indent >= b.charts {
		b.dash = indent
	}
	switch {
	case isItem && indent == b.dash:
		return errors.Join(b.endItem(), b.keep(line))
	case b.dash >= 0 && indent > b.dash:
		return b.keep(line)
	case indent == b.charts:
		return b.chartLine(text)
	}
	return errForm
}

// keep adds a line to what is being read.
func (b *blocks) keep(line []byte) error {
	to := &b.other
	if b.inEntries {
		to = &b.item
	}
	if b.inEntries && b.dash < 0 {
		return nil // a comment between charts
	}
	to.Write(line)
	if to.Len() > maxEntry {
		return fmt.Errorf("chart %q: a version takes more than %d bytes", b.chart, maxEntry)
	}
	return nil
}

func (b *blocks) topLevel(line, text []byte) error {
	if b.inEntries {
		if err := b.endChartBlock(); err != nil {
			return err
		}
		b.inEntries = false
	}
	marker := bytes.HasPrefix(text, []byte("---")) || bytes.HasPrefix(text, []byte("..."))
	if marker && (b.begun || string(text) != "---") {
		return errForm
	}
	b.begun = true
	if !bytes.HasPrefix(text, []byte("entries:")) {
		return b.keep(line)
	}
	if rest := bytes.TrimSpace(text[len("entries:"):]); len(rest) > 0 && rest[0] != '#' {
		return errForm
	}
	b.inEntries = true
	return b.beginEntries()
}

// chartLine is the name of a chart; its versions follow.
func (b *blocks) chartLine(text []byte) error {
	if err := b.endChartBlock(); err != nil {
		return err
	}
	converted, err := toJSON(text)
	if err != nil {
		return err
	}
	var chart map[string][]json.RawMessage
	if json.Unmarshal(converted, &chart) != nil || len(chart) != 1 {
		return errForm
	}
	for name, versions := range chart {
		if len(versions) > 0 {
			return errForm
		}
		b.inChart, b.dash = true, -1
		return b.beginChart(name)
	}
	return nil
}

func (b *blocks) endChartBlock() error {
	if !b.inChart {
		return nil
	}
	b.inChart = false
	if err := b.endItem(); err != nil {
		return err
	}
	b.dash = -1
	return b.endChart()
}

// endItem parses the version that was read.
func (b *blocks) endItem() error {
	if b.item.Len() == 0 {
		return nil
	}
	defer b.item.Reset()
	converted, err := toJSON(b.item.Bytes())
	if err != nil {
		return fmt.Errorf("chart %q: %w", b.chart, err)
	}
	var list []json.RawMessage
	if json.Unmarshal(converted, &list) != nil || len(list) != 1 {
		return errForm
	}
	return b.version(list[0])
}

// others reads what stands beside the entries.
func (b *blocks) others() error {
	converted, err := toJSON(b.other.Bytes())
	if err != nil {
		return err
	}
	if json.Unmarshal(converted, &b.rest) != nil || b.rest["entries"] != nil {
		return errForm
	}
	return nil
}
