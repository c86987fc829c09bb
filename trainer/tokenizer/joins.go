package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// joins knows where a piece can be cut without changing its ids. Models in SentencePiece's manner have
// no pre-tokeniser, so a piece may be a whole document. A token that spans two runes comes from a merge
// whose left side ends with the one and whose right side begins with the other. Where no merge does,
// nothing can grow across, and the parts are words: short, and worth remembering.
type joins struct {
	beforeSign map[rune]bool  // runes with a merge to a U+2581 on their right
	ascii      [128][2]uint64 // by left character, a bit for each right one
	// anywhere: cuts between ASCII characters are allowed too. Not so where a character may become an
	// unknown token: that waits for the next known character (see characters), which must not be cut off.
	anywhere bool
}

const wordSign = "\u2581" // SentencePiece's visible space

func (j *joins) add(m merge) {
	left, _ := utf8.DecodeLastRuneInString(m.left)
	right, _ := utf8.DecodeRuneInString(m.right)
	if strings.HasPrefix(m.right, wordSign) {
		j.beforeSign[left] = true
	}
	if left < utf8.RuneSelf && right < utf8.RuneSelf {
		j.ascii[left][right>>6] |= 1 << (right & 63)
	}
}

// parts reports whether s can be cut before s[i], i > 0.
func (j *joins) parts(s string, i int) bool {
	left, right := s[i-1], s[i]
	if right < utf8.RuneSelf {
		return j.anywhere && left < utf8.RuneSelf && j.ascii[left][right>>6]>>(right&63)&1 == 0
	}
	if right != wordSign[0] || !strings.HasPrefix(s[i:], wordSign) {
		return false
	}
	r := rune(left)
	if left >= utf8.RuneSelf {
		r, _ = utf8.DecodeLastRuneInString(s[:i])
	}
	return !j.beforeSign[r]
}
