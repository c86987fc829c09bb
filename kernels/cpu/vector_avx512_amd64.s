// The loops of vector_amd64.h with AVX-512 (F and DQ): 16 elements a register.

#include "textflag.h"
#include "go_asm.h"

#define W 16

#define V0 Z0
#define V1 Z1
#define V2 Z2
#define V3 Z3
#define V4 Z4
#define V5 Z5
#define V6 Z6
#define V7 Z7
#define V8 Z8
#define V9 Z9
#define V10 Z10
#define V11 Z11
#define V12 Z12
#define V13 Z13
#define V14 Z14

// The lanes in use in the last round: K1.
#define SETMASK \
	MOVL  $1, AX; \
	SHLL  CX, AX; \
	DECL  AX;     \
	KMOVW AX, K1

#define LOAD(from, v) VMOVUPS from, v
#define STORE(v, to) VMOVUPS v, to
#define LOADPART(from, v) VMOVUPS.Z from, K1, v
#define STOREPART(v, to) VMOVUPS v, K1, to
#define ZEROREST(v) VMOVAPS.Z v, K1, v
#define MAXPART(v, top) VMAXPS v, top, K1, top

#define FOLD(op) \
	VEXTRACTF64X4 $1, Z0, Y1; \
	op            Y1, Y0, Y0

// The lanes where x is not below the bound, a NaN among them: K2.
#define ATLEAST(bound, x) VCMPPS $5, bound, x, K2
#define OTHERSZERO(v) VMOVAPS.Z v, K2, v

// The constants of EXP.
#define EXPHI Z13
#define EXPLO Z14
#define LOG2E Z16
#define MAGIC Z17
#define LN2HI Z18
#define LN2LO Z19
#define EXP7 Z20
#define EXP6 Z21
#define EXP5 Z22
#define EXP4 Z23
#define EXP3 Z24
#define HALF Z25
#define ONE Z26

#define EXPCONSTANTS \
	VMOVUPS expHi<>(SB), EXPHI; \
	VMOVUPS expLo<>(SB), EXPLO; \
	VMOVUPS log2e<>(SB), LOG2E; \
	VMOVUPS expMagic<>(SB), MAGIC; \
	VMOVUPS ln2Hi<>(SB), LN2HI; \
	VMOVUPS ln2Lo<>(SB), LN2LO; \
	VMOVUPS exp7<>(SB), EXP7; \
	VMOVUPS exp6<>(SB), EXP6; \
	VMOVUPS exp5<>(SB), EXP5; \
	VMOVUPS exp4<>(SB), EXP4; \
	VMOVUPS exp3<>(SB), EXP3; \
	VMOVUPS half<>(SB), HALF; \
	VMOVUPS one<>(SB), ONE

#define ADD ·addAVX512(SB)
#define MULTIPLY ·multiplyAVX512(SB)
#define SCALE ·scaleAVX512(SB)
#define AXPY ·axpyAVX512(SB)
#define DOT ·dotAVX512(SB)
#define SUM ·sumAVX512(SB)
#define SUMSQ ·sumSqAVX512(SB)
#define MAX ·maxAVX512(SB)
#define EXPSUM ·expAVX512(SB)
#define SOFTCAP ·softcapAVX512(SB)
#define SOFTCAPGRAD ·softcapGradAVX512(SB)
#define SOFTMAXGRAD ·softmaxGradAVX512(SB)
#define SILU ·siluAVX512(SB)
#define GELUTANH ·geluTanhAVX512(SB)
#define GELU ·geluAVX512(SB)
#define RELU ·reluAVX512(SB)
#define NORMALIZE ·normalizeAVX512(SB)
#define NORMSUMS ·normSumsAVX512(SB)
#define NORMGRAD ·normGradAVX512(SB)
#define ROTATE ·rotateAVX512(SB)
#define RANDOM ·randomAVX512(SB)
#define DROPOUT ·dropoutAVX512(SB)
#define DROPOUTADD ·dropoutAddAVX512(SB)
#define ADAMW ·adamWAVX512(SB)

#include "vector_amd64.h"

DATA laneCounters<>+0(SB)/8, $0
DATA laneCounters<>+8(SB)/8, $4
DATA laneCounters<>+16(SB)/8, $1
DATA laneCounters<>+24(SB)/8, $5
DATA laneCounters<>+32(SB)/8, $2
DATA laneCounters<>+40(SB)/8, $6
DATA laneCounters<>+48(SB)/8, $3
DATA laneCounters<>+56(SB)/8, $7
GLOBL laneCounters<>(SB), RODATA|NOPTR, $64

CONST(laneStep<>, $8)
