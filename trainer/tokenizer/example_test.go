package tokenizer_test

import (
	"fmt"
	"log"

	"github.com/shannon-control/scu/trainer/tokenizer"
)

func ExampleLoad() {
	tok, err := tokenizer.Load("../../models/bookworm-2m")
	if err != nil {
		log.Fatal(err)
	}
	ids := tok.Encode("It was the best of times.<|endoftext|>")
	fmt.Println(ids)
	fmt.Println(tok.Decode(ids, true))
	// Output:
	// [1030 316 261 1244 273 1466 14 0]
	// It was the best of times.
}
