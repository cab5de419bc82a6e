package automation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// byteOrderMark may begin a file. Columns do not count it.
const byteOrderMark = "\ufeff"

// errShape says that a scalar is written in a way that is not edited.
var errShape = errors.New("its value is not on one line: write it as one plain or quoted scalar")

// documents parses a file. The nodes know their lines and columns in it.
func documents(content []byte) ([]*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var all []*yaml.Node
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, &document)
	}
}

// walk calls visit for each node at and below the given one, in the order of
// the file. What an alias stands for is visited where it is written.
func walk(node *yaml.Node, visit func(*yaml.Node)) {
	visit(node)
	for _, child := range node.Content {
		walk(child, visit)
	}
}

// span is where in the file a scalar is written.
type span struct {
	start, end int
}

// source finds scalars in the bytes of a file.
type source struct {
	content []byte
	// lines are the offsets at which lines begin.
	lines []int
}

func newSource(content []byte) *source {
	s := &source{content: content, lines: []int{0}}
	for i, c := range content {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// locate returns the bytes of the scalar, its quotes included and its anchor
// and tag not.
func (s *source) locate(node *yaml.Node) (span, error) {
	if node.Line < 1 || node.Line > len(s.lines) {
		return span{}, errShape
	}
	start := s.lines[node.Line-1]
	if node.Line == 1 && bytes.HasPrefix(s.content, []byte(byteOrderMark)) {
		start += len(byteOrderMark)
	}
	for range node.Column - 1 {
		_, size := utf8.DecodeRune(s.content[start:])
		start += size
	}
	line, _, _ := bytes.Cut(s.content[start:], []byte("\n"))
	skipped := properties(line)
	length, err := scalarLength(line[skipped:], node)
	return span{start: start + skipped, end: start + skipped + length}, err
}

// properties is the length of the anchor and the tag in front of a scalar.
func properties(line []byte) int {
	length := 0
	for length < len(line) && (line[length] == '&' || line[length] == '!') {
		word := bytes.IndexAny(line[length:], " \t")
		if word < 0 {
			return length
		}
		rest := line[length+word:]
		length += word + len(rest) - len(bytes.TrimLeft(rest, " \t"))
	}
	return length
}

// scalarLength is how many bytes of the line the scalar takes.
func scalarLength(line []byte, node *yaml.Node) (int, error) {
	var end int
	switch {
	case node.Style&yaml.SingleQuotedStyle != 0:
		end = quotedLength(line, '\'')
	case node.Style&yaml.DoubleQuotedStyle != 0:
		end = quotedLength(line, '"')
	case node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && bytes.HasPrefix(line, []byte(node.Value)):
		return len(node.Value), nil
	}
	if end == 0 {
		return 0, errShape
	}
	return end, nil
}

// quotedLength is the length of the quoted text that the line begins with; zero
// when it does not end on the line.
func quotedLength(line []byte, quote byte) int {
	if len(line) == 0 || line[0] != quote {
		return 0
	}
	for i := 1; i < len(line); i++ {
		switch {
		case line[i] == '\\' && quote == '"':
			i++
		case line[i] == quote && quote == '\'' && i+1 < len(line) && line[i+1] == quote:
			i++
		case line[i] == quote:
			return i + 1
		}
	}
	return 0
}

// spell writes the value in the style of the scalar that it replaces; what
// would not be read as text gets quotes.
func spell(value string, style yaml.Style) string {
	switch {
	case style&yaml.SingleQuotedStyle != 0:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	case style&yaml.DoubleQuotedStyle != 0 || !isPlain(value):
		return strconv.Quote(value)
	}
	return value
}

// isPlain says whether the value can be written without quotes and is text
// then, wherever it stands: 1.10 would be a number.
func isPlain(value string) bool {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte("- ["+value+"]"), &document); err != nil || len(document.Content) != 1 {
		return false
	}
	item := document.Content[0].Content[0]
	if len(item.Content) != 1 {
		return false
	}
	scalar := item.Content[0]
	return scalar.Kind == yaml.ScalarNode && scalar.Value == value && scalar.ShortTag() == "!!str"
}

// sameBut holds a file against what it was before: nothing but the edited
// scalars, counted in the order of the file, may differ.
func sameBut(before, after []byte, edited map[int]string) error {
	was, err := scalars(before)
	if err != nil {
		return err
	}
	is, err := scalars(after)
	if err != nil {
		return err
	}
	if len(was) != len(is) {
		return fmt.Errorf("the edit would change its structure: %d values became %d", len(was), len(is))
	}
	for i := range was {
		want, expected := edited[i]
		if !expected {
			want = was[i]
		}
		if is[i] != want {
			return fmt.Errorf("the edit would change %q to %q", was[i], is[i])
		}
	}
	return nil
}

// scalars are the values of a file in its order.
func scalars(content []byte) ([]string, error) {
	all, err := documents(content)
	if err != nil {
		return nil, err
	}
	var values []string
	for _, document := range all {
		walk(document, func(node *yaml.Node) {
			if node.Kind == yaml.ScalarNode {
				values = append(values, node.Value)
			}
		})
	}
	return values, nil
}
