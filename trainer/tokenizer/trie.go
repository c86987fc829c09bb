package tokenizer

// trie finds the entries that begin at a place of a text. Nodes are numbers, edges stand in one table.
type trie struct {
	edges *table
	ids   []int32 // by node; -1: no entry ends here
	first [256]bool
}

// maxTrie bounds the bytes of a trie's entries; a node takes 36 bytes. Unigram vocabularies have up to 2 MB.
const maxTrie = 1 << 23

// newTrie makes room for entries of size bytes in all. Node 0 is the root.
func newTrie(size int) *trie {
	return &trie{edges: newTable(size), ids: []int32{-1}}
}

// add enters s, which newTrie must have counted; the last id given for a text stays.
func (t *trie) add(s string, id int32) {
	node := int32(0)
	for i := 0; i < len(s); i++ {
		next, _, ok := t.edges.get(node, int32(s[i]))
		if !ok {
			next = int32(len(t.ids))
			t.edges.put(node, int32(s[i]), next, 0)
			t.ids = append(t.ids, -1)
		}
		node = next
	}
	t.ids[node] = id
	if s != "" {
		t.first[s[0]] = true
	}
}

// step follows the edge of b; ok is false where none leads on. id is of the entry that ends there, or -1.
func (t *trie) step(node int32, b byte) (next, id int32, ok bool) {
	next, _, ok = t.edges.get(node, int32(b))
	if !ok {
		return 0, -1, false
	}
	return next, t.ids[next], true
}

// find gives the leftmost entry of s at or after i, the longest of those that begin there.
func (t *trie) find(s string, i int) (start, end int, id int32) {
	for ; i < len(s); i++ {
		if !t.first[s[i]] {
			continue
		}
		node, id := int32(0), int32(-1)
		for j := i; j < len(s); j++ {
			next, found, ok := t.step(node, s[j])
			if !ok {
				break
			}
			if node = next; found >= 0 {
				end, id = j+1, found
			}
		}
		if id >= 0 {
			return i, end, id
		}
	}
	return len(s), len(s), -1
}
