package access

// Elements counts what begins a tag of XML, or a value of JSON that another value
// holds, in a part of an answer: at least as many as there are. What an element is
// decoded into can be fifty times as large as its text.
func Elements(text []byte) (n int) {
	for _, c := range text {
		if c == '<' || c == '{' || c == '[' || c == ',' {
			n++
		}
	}
	return n
}
