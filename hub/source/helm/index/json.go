package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// readJSON reads the index by its tokens: no more than one version is held.
func (p *parser) readJSON(r io.Reader) error {
	d := json.NewDecoder(r)
	if err := open(d, '{', "the index"); err != nil {
		return err
	}
	for d.More() {
		key, err := keyOf(d)
		if err != nil {
			return err
		}
		if key == "entries" {
			err = p.entriesJSON(d)
		} else {
			err = p.otherJSON(d, key)
		}
		if err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return broken(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the index goes on after its end")
	}
	return nil
}

// otherJSON keeps the small values beside the entries.
func (p *parser) otherJSON(d *json.Decoder, key string) error {
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return broken(err)
	}
	if len(value) > maxEntry {
		return fmt.Errorf("the index has more than %d bytes at %q", maxEntry, key)
	}
	if key == "apiVersion" || key == "generated" {
		p.rest[key] = value
	}
	return nil
}

func (p *parser) entriesJSON(d *json.Decoder) error {
	if err := p.beginEntries(); err != nil {
		return err
	}
	if null, err := openOrNull(d, '{', `"entries"`); null || err != nil {
		return err
	}
	for d.More() {
		name, err := keyOf(d)
		if err != nil {
			return err
		}
		if err := p.chartJSON(d, name); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return broken(err)
}

func (p *parser) chartJSON(d *json.Decoder, name string) error {
	if err := p.beginChart(name); err != nil {
		return err
	}
	if null, err := openOrNull(d, '[', fmt.Sprintf("the value of chart %q", name)); null || err != nil {
		return err
	}
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return broken(err)
		}
		if err := p.version(raw); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return broken(err)
	}
	return p.endChart()
}

func open(d *json.Decoder, want json.Delim, what string) error {
	null, err := openOrNull(d, want, what)
	if null {
		return fmt.Errorf("%s is null", what)
	}
	return err
}

func openOrNull(d *json.Decoder, want json.Delim, what string) (null bool, err error) {
	token, err := d.Token()
	if err != nil {
		return false, broken(err)
	}
	if token == nil {
		return true, nil
	}
	if token != want {
		return false, fmt.Errorf("%s does not begin with %s", what, want)
	}
	return false, nil
}

func keyOf(d *json.Decoder) (string, error) {
	token, err := d.Token()
	if err != nil {
		return "", broken(err)
	}
	key, ok := token.(string)
	if !ok {
		return "", errors.New("the index has a key that is no text")
	}
	return key, nil
}

// broken is an error of the JSON; those of the reader pass as they are.
func broken(err error) error {
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the index ends in the middle")
	case errors.As(err, &syntax):
		return fmt.Errorf("the index is not JSON: %s, at byte %d", reconcile.OneLine(err), syntax.Offset)
	}
	return err
}
