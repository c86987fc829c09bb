// AMX: tiles of 32 rows and 32 columns, from operands split into bfloat16 parts.
// The assembler does not know these instructions, hence the bytes.

#include "textflag.h"
#include "go_asm.h"

// All eight tile registers are 16 rows of 64 bytes.
DATA tileConfig<>+0(SB)/8, $1
DATA tileConfig<>+16(SB)/8, $0x0040004000400040
DATA tileConfig<>+24(SB)/8, $0x0040004000400040
DATA tileConfig<>+48(SB)/8, $0x1010101010101010
GLOBL tileConfig<>(SB), RODATA|NOPTR, $64

// LDTILECFG (AX)
#define CONFIGURE BYTE $0xC4; BYTE $0xE2; BYTE $0x78; BYTE $0x49; BYTE $0x00

// TILERELEASE
#define RELEASE BYTE $0xC4; BYTE $0xE2; BYTE $0x78; BYTE $0x49; BYTE $0xC0

// TILEZERO t
#define TILEZERO(t) BYTE $0xC4; BYTE $0xE2; BYTE $0x7B; BYTE $0x49; BYTE $(0xC0+8*t)

// TILELOADD offset(SI)(R8*1), t
#define LOADA(offset, t) BYTE $0xC4; BYTE $0xA2; BYTE $0x7B; BYTE $0x4B; BYTE $(0x84+8*t); BYTE $0x06; LONG $offset

// TILELOADD offset(DI)(R8*1), t
#define LOADB(offset, t) BYTE $0xC4; BYTE $0xA2; BYTE $0x7B; BYTE $0x4B; BYTE $(0x84+8*t); BYTE $0x07; LONG $offset

// TILESTORED t, offset(DX)(R8*1)
#define TILESTORE(t, offset) BYTE $0xC4; BYTE $0xA2; BYTE $0x7A; BYTE $0x4B; BYTE $(0x84+8*t); BYTE $0x02; LONG $offset

// TDPBF16PS: the four sums T0-T3 += the A halves in T4, T5 times the B halves in T6, T7.
#define PRODUCT \
	BYTE $0xC4; BYTE $0xE2; BYTE $0x4A; BYTE $0x5C; BYTE $0xC4; \
	BYTE $0xC4; BYTE $0xE2; BYTE $0x42; BYTE $0x5C; BYTE $0xCC; \
	BYTE $0xC4; BYTE $0xE2; BYTE $0x4A; BYTE $0x5C; BYTE $0xD5; \
	BYTE $0xC4; BYTE $0xE2; BYTE $0x42; BYTE $0x5C; BYTE $0xDD

// UPDATE is C = alpha sums + beta C + bias for a row of 32 columns at most, and asks
// for the row eight further on.
#define UPDATE \
	PREFETCHT0  (R13)(R10*8);        \
	PREFETCHT0  64(R13)(R10*8);      \
	VMULPS      (DX), Z8, Z0;        \
	VMULPS      64(DX), Z8, Z1;      \
	VFMADD231PS (R13), Z9, K3, Z0;   \
	VFMADD231PS 64(R13), Z9, K4, Z1; \
	VADDPS      Z10, Z0, Z0;         \
	VADDPS      Z11, Z1, Z1;         \
	VMOVUPS     Z0, K1, (R13);       \
	VMOVUPS     Z1, K2, 64(R13);     \
	ADDQ        $128, DX;            \
	ADDQ        R10, R13

// func mulAMX(t *tileAMX)
//
// A strip is 32 rows. While its tiles are multiplied, C takes up the sums of the
// strip before: AX rows of it are left, next at R13, their sums at DX.
TEXT ·mulAMX(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), BX
	LEAQ tileConfig<>(SB), AX
	CONFIGURE
	MOVQ         tileAMX_cols(BX), CX // K1, K2 select the columns
	MOVQ         $-1, AX
	SHLQ         CX, AX
	NOTQ         AX
	KMOVW        AX, K1
	SHRQ         $16, AX
	KMOVW        AX, K2
	VBROADCASTSS tileAMX_alpha(BX), Z8
	VBROADCASTSS tileAMX_beta(BX), Z9
	VPTESTMD     Z9, Z9, K3
	KANDW        K3, K2, K4 // and none where beta is 0 (+0): C is not read
	KANDW        K3, K1, K3
	VPXORD       Z10, Z10, Z10
	VPXORD       Z11, Z11, Z11
	MOVQ         tileAMX_bias(BX), CX
	TESTQ        CX, CX
	JZ           strips
	VMOVUPS.Z    (CX), K1, Z10
	VMOVUPS.Z    64(CX), K2, Z11

strips:
	MOVQ tileAMX_a(BX), SI
	MOVQ tileAMX_c(BX), R13
	MOVQ tileAMX_cRow(BX), R10
	MOVQ tileAMX_rows(BX), R12 // not yet multiplied
	MOVQ tileAMX_exact(BX), R9
	MOVQ tileAMX_pace(BX), R11
	XORL AX, AX

strip:
	TILEZERO(0)
	TILEZERO(1)
	TILEZERO(2)
	TILEZERO(3)
	MOVQ tileAMX_b(BX), DI
	MOVQ tileAMX_steps(BX), CX
	MOVL $64, R8

step:
	LOADB(0, 6)
	LOADB(1024, 7)
	LOADA(4096, 4)
	LOADA(5120, 5)
	PRODUCT // a3 b1
	LOADA(2048, 4)
	LOADA(3072, 5)
	PRODUCT // a2 b1
	MOVQ    R11, R15

row:
	TESTQ AX, AX
	JZ    rest
	UPDATE
	DECQ  AX
	DECQ  R15
	JNZ   row

rest:
	TESTQ R9, R9
	JNZ   exact
	LOADB(2048, 6)
	LOADB(3072, 7)
	PRODUCT // a2 b2
	LOADA(0, 4)
	LOADA(1024, 5)
	PRODUCT // a1 b2
	LOADB(4096, 6)
	LOADB(5120, 7)
	PRODUCT // a1 b3
	LOADB(0, 6)
	LOADB(1024, 7)
	PRODUCT // a1 b1
	ADDQ  $6144, SI
	ADDQ  $6144, DI
	DECQ  CX
	JNZ   step
	JMP   done

exact: // b2 and b3 are zero
	LOADA(0, 4)
	LOADA(1024, 5)
	PRODUCT // a1 b1
	ADDQ  $6144, SI
	ADDQ  $6144, DI
	DECQ  CX
	JNZ   step

done:
	MOVQ    tileAMX_sums(BX), DX
	MOVL    $128, R8
	TILESTORE(0, 0)
	TILESTORE(1, 64)
	TILESTORE(2, 2048)
	TILESTORE(3, 2112)
	MOVL    $32, AX
	CMPQ    R12, AX
	CMOVQLT R12, AX
	SUBQ    AX, R12
	JNZ     strip

last:
	UPDATE
	DECQ AX
	JNZ  last
	RELEASE
	VZEROUPPER
	RET

// PART makes a part of a line: what the 16 floats in Z0 round to is left in Z2, that
// of Z1 in Z3, and both are stored side by side, Z0's first. Ties go away from zero.
#define PART(offset) \
	VPADDD  Z6, Z0, Z2;  \
	VPADDD  Z6, Z1, Z3;  \
	VPANDD  Z7, Z2, Z2;  \
	VPANDD  Z7, Z3, Z3;  \
	VPSRLD  $16, Z2, Z4; \
	VPORD   Z3, Z4, Z4;  \
	VMOVUPS Z4, offset(R10)

#define REST \
	VSUBPS Z2, Z0, Z0; \
	VSUBPS Z3, Z1, Z1

// LASTPART is PART of what has no more than 8 bits.
#define LASTPART(offset) \
	VPANDD  Z7, Z1, Z1;  \
	VPSRLD  $16, Z0, Z0; \
	VPORD   Z0, Z1, Z1;  \
	VMOVUPS Z1, offset(R10)

#define LOADLINE \
	MOVQ    (R8)(DX*8), AX; \
	ADDQ    SI, AX;         \
	VMOVUPS (AX), Z0;       \
	VMOVUPS (AX)(R9*1), Z1

#define NEXTLINE(line, step) \
	ADDQ $64, R10;   \
	INCQ DX;         \
	CMPQ DX, $16;    \
	JB   line;       \
	ADDQ R11, SI;    \
	ADDQ $6144, DI;  \
	DECQ CX;         \
	JNZ  step

// func splitAMX(dst *uint16, src *float32, lines *[16]int, another, step, steps, exact int)
TEXT ·splitAMX(SB), NOSPLIT, $0-56
	MOVQ         dst+0(FP), DI
	MOVQ         src+8(FP), SI
	MOVQ         lines+16(FP), R8
	MOVQ         another+24(FP), R9
	MOVQ         step+32(FP), R11
	MOVQ         steps+40(FP), CX
	MOVL         $0x8000, AX
	VPBROADCASTD AX, Z6
	MOVL         $0xFFFF0000, AX
	VPBROADCASTD AX, Z7
	CMPQ         exact+48(FP), $0
	JNE          exactStep

step:
	XORL DX, DX
	MOVQ DI, R10

line:
	LOADLINE
	PART(0)
	REST
	PART(2048)
	REST
	LASTPART(4096)
	NEXTLINE(line, step)
	VZEROUPPER
	RET

exactStep:
	XORL DX, DX
	MOVQ DI, R10

exactLine:
	LOADLINE
	LASTPART(0)
	NEXTLINE(exactLine, exactStep)
	VZEROUPPER
	RET
