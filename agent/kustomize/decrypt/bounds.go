package decrypt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/getsops/sops/v3/cmd/sops/formats"
	"go.yaml.in/yaml/v3"
)

// mostDeep is how deep a SOPS file may nest. SOPS indents what it writes: a short
// value far in takes many times its length.
const mostDeep = 100

var (
	errAliases = errors.New("it has YAML aliases, and SOPS encrypts none: write out what they stand for")
	errDeep    = fmt.Errorf("it nests deeper than %d levels", mostDeep)
)

// bounded refuses what SOPS's parsers would follow without end: they go into each
// value, and through each alias. A stack that overflows ends the process, and no
// recover helps. What cannot be parsed is for SOPS to refuse.
func bounded(content []byte, format formats.Format) error {
	switch format {
	case formats.Yaml:
		return boundedYAML(content)
	case formats.Dotenv, formats.Ini:
		return boundedLines(content)
	}
	return boundedJSON(content)
}

// boundedYAML looks at all documents, as SOPS does.
func boundedYAML(content []byte) error {
	documents := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var document yaml.Node
		if documents.Decode(&document) != nil {
			return nil
		}
		if err := boundedNode(&document, 0); err != nil {
			return err
		}
	}
}

func boundedNode(node *yaml.Node, deep int) error {
	switch {
	case node.Kind == yaml.AliasNode:
		return errAliases
	case deep > mostDeep+1: // the document is a node, too
		return errDeep
	}
	for _, child := range node.Content {
		if err := boundedNode(child, deep+1); err != nil {
			return err
		}
	}
	return nil
}

func boundedJSON(content []byte) error {
	tokens := json.NewDecoder(bytes.NewReader(content))
	for deep := 0; ; {
		token, err := tokens.Token()
		if err != nil {
			return nil
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			deep++
		case json.Delim(']'), json.Delim('}'):
			deep--
		}
		if deep > mostDeep {
			return errDeep
		}
	}
}

// boundedLines looks at names of SOPS's metadata, which nest by what is in them.
func boundedLines(content []byte) error {
	for line := range bytes.Lines(content) {
		if bytes.Count(line, []byte("__map_"))+bytes.Count(line, []byte("__list_")) > mostDeep {
			return errDeep
		}
	}
	return nil
}
