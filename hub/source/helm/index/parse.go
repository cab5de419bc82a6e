package index

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/hub/source/helm/aliases"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// maxVersions bounds the versions of all charts of an index.
	maxVersions = 500_000
	// maxEntry bounds one version of one chart, as text and as JSON: some hold
	// an icon or a readme.
	maxEntry = 4 << 20
	// maxWhole is the size up to which YAML of any form is read.
	maxWhole = 1 << 20
	bufSize  = 64 << 10
)

// Parse reads an index of the given size, YAML or JSON, and writes it as JSON.
// Errors say where they are, by the name of the chart.
func Parse(in io.Reader, size int64, out io.Writer) (*Index, error) {
	p := newParser(out)
	r := bufio.NewReaderSize(in, bufSize)
	start, err := peekText(r)
	switch {
	case err != nil:
		return nil, err
	case start == '{':
		err = p.readJSON(r)
	case size <= maxWhole:
		err = p.readWhole(r)
	default:
		err = p.readBlocks(r)
	}
	return p.end(err)
}

// peekText skips a byte order mark and blank space, and returns what follows.
func peekText(r *bufio.Reader) (byte, error) {
	if mark, err := r.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = r.Discard(len(mark))
	}
	for skipped := 0; skipped < bufSize; skipped++ {
		b, err := r.Peek(1)
		if errors.Is(err, io.EOF) {
			return 0, errors.New("the index is empty")
		}
		if err != nil {
			return 0, err
		}
		// Spaces stay: they may indent the first line.
		if b[0] != '\n' && b[0] != '\r' {
			return b[0], nil
		}
		_, _ = r.Discard(1)
	}
	return 0, errors.New("the index begins with nothing but blank lines")
}

// parser writes the JSON as it reads. The entries come first, then the rest.
type parser struct {
	builder
	out  *bufio.Writer
	rest map[string]json.RawMessage

	entries bool // seen
	seen    map[string]bool
	chart   string
	// written counts charts, and versions of the present one.
	charts, versions int
}

func newParser(out io.Writer) *parser {
	return &parser{
		builder: builder{index: &Index{charts: map[string][]Version{}}, max: maxVersions},
		out:     bufio.NewWriterSize(out, bufSize),
		rest:    map[string]json.RawMessage{},
		seen:    map[string]bool{},
	}
}

// beginEntries is called at the key entries.
func (p *parser) beginEntries() error {
	if p.entries {
		return errors.New(`the index has the key "entries" twice`)
	}
	p.entries = true
	_, err := p.out.WriteString(`{"entries":{`)
	return err
}

func (p *parser) beginChart(name string) error {
	if p.seen[name] {
		return fmt.Errorf("the index has the chart %q twice", name)
	}
	if len(p.seen) >= maxVersions {
		return fmt.Errorf("%w: more than %d charts", errTooMany, maxVersions)
	}
	p.seen[name] = true
	p.chart, p.versions = name, 0
	return nil
}

// entry is what is read of one version.
type entry struct {
	Name    text     `json:"name"`
	Version text     `json:"version"`
	URLs    []string `json:"urls"`
	Digest  string   `json:"digest"`
	Created string   `json:"created"`
}

// text is a string that YAML may have taken for a number.
type text string

// UnmarshalJSON takes strings and numbers.
func (t *text) UnmarshalJSON(raw []byte) error {
	if raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(t))
	}
	var number json.Number
	err := json.Unmarshal(raw, &number)
	*t = text(number)
	return err
}

// version adds one version of the present chart. What is no version of a chart
// is left out.
func (p *parser) version(raw json.RawMessage) error {
	if len(raw) > maxEntry {
		return fmt.Errorf("chart %q: a version takes more than %d bytes", p.chart, maxEntry)
	}
	var e entry
	if json.Unmarshal(raw, &e) != nil || !e.valid() {
		return nil
	}
	created, _ := time.Parse(time.RFC3339Nano, e.Created) // the zero time is older than all others
	v := Version{Version: string(e.Version), Digest: e.Digest, Created: created}
	if len(e.URLs) > 0 {
		v.URL = e.URLs[0]
	}
	if err := p.add(p.chart, v); err != nil {
		return err
	}
	if err := p.separate(); err != nil {
		return err
	}
	_, err := p.out.Write(raw)
	return err
}

func (e *entry) valid() bool {
	name := string(e.Name)
	if name == "" || name != path.Base(name) || name == "." || name == ".." {
		return false
	}
	_, err := semver.NewVersion(string(e.Version))
	return err == nil
}

// separate writes what stands before a version; a chart without versions is not
// written at all.
func (p *parser) separate() error {
	if p.versions++; p.versions > 1 {
		return p.out.WriteByte(',')
	}
	name, err := json.Marshal(p.chart)
	if err != nil {
		return err
	}
	if p.charts++; p.charts > 1 {
		name = append([]byte{','}, name...)
	}
	_, err = p.out.Write(append(name, ':', '['))
	return err
}

func (p *parser) endChart() error {
	if p.versions == 0 {
		return nil
	}
	return p.out.WriteByte(']')
}

// end writes what follows the entries.
func (p *parser) end(err error) (*Index, error) {
	if err != nil {
		return nil, err
	}
	var version string
	if json.Unmarshal(p.rest["apiVersion"], &version) != nil || version == "" {
		return nil, errors.New("the index has no apiVersion: it is not that of a Helm repository")
	}
	if !p.entries {
		if err := p.beginEntries(); err != nil {
			return nil, err
		}
	}
	_ = p.out.WriteByte('}')
	for _, key := range []string{"apiVersion", "generated"} {
		if value, ok := p.rest[key]; ok {
			_, _ = fmt.Fprintf(p.out, `,%q:%s`, key, value)
		}
	}
	_ = p.out.WriteByte('}')
	// Flush has the first error of all writes.
	return p.index, p.out.Flush()
}

// readWhole reads a small document of YAML as a whole.
func (p *parser) readWhole(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxWhole+1))
	if err != nil {
		return err
	}
	converted, err := toJSON(text)
	if err != nil {
		return err
	}
	return p.readJSON(bytes.NewReader(converted))
}

// toJSON converts YAML. Aliases make it larger than it was, within their bound.
func toJSON(text []byte) (converted []byte, err error) {
	if err = aliases.Bound(text); err == nil {
		converted, err = yaml.YAMLToJSON(text)
	}
	if err != nil {
		return nil, fmt.Errorf("the index is not YAML: %s", reconcile.OneLine(err))
	}
	return converted, nil
}
