// The loops of vector.go in vector instructions, written once for AVX2 and
// AVX-512. vector_avx2_amd64.s and vector_avx512_amd64.s say what the registers
// V0-V14 are, how many elements they hold (W), how part of one is read and
// written, and what the functions are called, and include this file.
//
// A loop goes through its slices with the byte offset BX while CX counts what is
// left. Its body is a macro of four others: L reads, S writes, Z zeroes and X
// takes the maximum of the lanes in use, which in the last round may be fewer
// than W. AX is free to them.

#define LOOP(body) \
loop: \
	SUBQ $W, CX; \
	JLT  tail; \
	body(LOAD, STORE, ALL, MAXALL); \
	ADDQ $(4*W), BX; \
	JMP  loop; \
tail: \
	ADDQ $W, CX; \
	JZ   done; \
	SETMASK; \
	body(LOADPART, STOREPART, ZEROREST, MAXPART); \
done:

#define ALL(v)
#define MAXALL(v, top) VMAXPS v, top, top
#define ZERO(v) VXORPS v, v, v

// ADDLANES leaves the sum of the lanes of V0 in X0; MAXLANES their maximum. FOLD
// has brought them down to the eight of Y0.
#define LANES(op) \
	FOLD(op);               \
	VEXTRACTF128 $1, Y0, X1; \
	op           X1, X0, X0; \
	VPERMILPS    $0x4E, X0, X1; \
	op           X1, X0, X0; \
	VPERMILPS    $0xB1, X0, X1; \
	op           X1, X0, X0

#define CONST(name, bits) \
	DATA  name+0(SB)/8, bits;  \
	DATA  name+8(SB)/8, bits;  \
	DATA  name+16(SB)/8, bits; \
	DATA  name+24(SB)/8, bits; \
	DATA  name+32(SB)/8, bits; \
	DATA  name+40(SB)/8, bits; \
	DATA  name+48(SB)/8, bits; \
	DATA  name+56(SB)/8, bits; \
	GLOBL name(SB), RODATA|NOPTR, $64

CONST(one<>, $0x3f8000003f800000)
CONST(two<>, $0x4000000040000000)
CONST(half<>, $0x3f0000003f000000)
CONST(sign<>, $0x8000000080000000)
CONST(abs<>, $0x7fffffff7fffffff)
CONST(low32<>, $0x00000000ffffffff)
CONST(minusInf<>, $0xff800000ff800000)

// EXP sets p = exp(x) as expPortable does and spoils x, t and V11. Its constants
// are in registers as far as there are any, where EXPCONSTANTS puts them. x is
// the operand that a minimum with NaN returns.
CONST(expHi<>, $0x42b0c0a542b0c0a5)    // 88.3762627
CONST(expLo<>, $0xc28a0000c28a0000)    // -69
CONST(log2e<>, $0x3fb8aa3b3fb8aa3b)    // 1.44269504
CONST(expMagic<>, $0x4b4000004b400000) // 3 * 2^22
CONST(ln2Hi<>, $0x3f3180003f318000)    // 0.693359375
CONST(ln2Lo<>, $0xb95e8083b95e8083)    // -0.000212194440
CONST(exp7<>, $0x3950696739506967)     // 1.9875691500e-4
CONST(exp6<>, $0x3ab743ce3ab743ce)     // 1.3981999507e-3
CONST(exp5<>, $0x3c0889083c088908)     // 8.3334519073e-3
CONST(exp4<>, $0x3d2aa9c13d2aa9c1)     // 4.1665795894e-2
CONST(exp3<>, $0x3e2aaaaa3e2aaaaa)     // 1.6666665459e-1

#define EXP(x, t, p) \
	ATLEAST(EXPLO, x);            \
	VMINPS       x, EXPHI, x;     \
	VMAXPS       x, EXPLO, x;     \
	VMOVUPS      MAGIC, t;        \
	VFMADD231PS  LOG2E, x, t;     \
	VSUBPS       MAGIC, t, p;     \
	VFNMADD231PS LN2HI, p, x;     \
	VFNMADD231PS LN2LO, p, x;     \
	VMOVUPS      EXP7, p;         \
	VFMADD213PS  EXP6, x, p;      \
	VFMADD213PS  EXP5, x, p;      \
	VFMADD213PS  EXP4, x, p;      \
	VFMADD213PS  EXP3, x, p;      \
	VFMADD213PS  HALF, x, p;      \
	VFMADD213PS  ONE, x, p;       \
	VFMADD213PS  ONE, x, p;       \
	VPSLLD       $23, t, t;       \
	VPADDD       t, p, p;         \
	OTHERSZERO(p)

// func add(dst, a, b []float32)
#define ADDBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);  \
	L((DX)(BX*1), V1);  \
	VADDPS V1, V0, V0;  \
	S(V0, (DI)(BX*1))

TEXT ADD, NOSPLIT, $0-72
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ a_base+24(FP), SI
	MOVQ b_base+48(FP), DX
	XORQ BX, BX
	LOOP(ADDBODY)
	VZEROUPPER
	RET

// func multiply(dst, a, b []float32)
#define MULBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);  \
	L((DX)(BX*1), V1);  \
	VMULPS V1, V0, V0;  \
	S(V0, (DI)(BX*1))

TEXT MULTIPLY, NOSPLIT, $0-72
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ a_base+24(FP), SI
	MOVQ b_base+48(FP), DX
	XORQ BX, BX
	LOOP(MULBODY)
	VZEROUPPER
	RET

// func scale(dst, x []float32, alpha float32)
#define SCALEBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);  \
	VMULPS V2, V0, V0;  \
	S(V0, (DI)(BX*1))

TEXT SCALE, NOSPLIT, $0-52
	MOVQ         dst_base+0(FP), DI
	MOVQ         dst_len+8(FP), CX
	MOVQ         x_base+24(FP), SI
	VBROADCASTSS alpha+48(FP), V2
	XORQ         BX, BX
	LOOP(SCALEBODY)
	VZEROUPPER
	RET

// func axpy(dst, x []float32, alpha float32)
#define AXPYBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);       \
	L((DI)(BX*1), V1);       \
	VFMADD231PS V2, V0, V1;  \
	S(V1, (DI)(BX*1))

TEXT AXPY, NOSPLIT, $0-52
	MOVQ         dst_base+0(FP), DI
	MOVQ         dst_len+8(FP), CX
	MOVQ         x_base+24(FP), SI
	VBROADCASTSS alpha+48(FP), V2
	XORQ         BX, BX
	LOOP(AXPYBODY)
	VZEROUPPER
	RET

// func dot(a, b []float32) float32
#define DOTBODY(L, S, Z, X) \
	L((SI)(BX*1), V1);       \
	L((DX)(BX*1), V2);       \
	VFMADD231PS V1, V2, V0

TEXT DOT, NOSPLIT, $0-52
	MOVQ a_base+0(FP), SI
	MOVQ a_len+8(FP), CX
	MOVQ b_base+24(FP), DX
	XORQ BX, BX
	ZERO(V0)
	LOOP(DOTBODY)
	LANES(VADDPS)
	VMOVSS X0, ret+48(FP)
	VZEROUPPER
	RET

// func sum(x []float32) float32
#define SUMBODY(L, S, Z, X) \
	L((SI)(BX*1), V1); \
	VADDPS V1, V0, V0

TEXT SUM, NOSPLIT, $0-28
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	XORQ BX, BX
	ZERO(V0)
	LOOP(SUMBODY)
	LANES(VADDPS)
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

// func sumSq(x []float32, mean float32) float32
#define SUMSQBODY(L, S, Z, X) \
	L((SI)(BX*1), V1);       \
	VSUBPS V2, V1, V1;       \
	Z(V1);                   \
	VFMADD231PS V1, V1, V0

TEXT SUMSQ, NOSPLIT, $0-36
	MOVQ         x_base+0(FP), SI
	MOVQ         x_len+8(FP), CX
	VBROADCASTSS mean+24(FP), V2
	XORQ         BX, BX
	ZERO(V0)
	LOOP(SUMSQBODY)
	LANES(VADDPS)
	VMOVSS X0, ret+32(FP)
	VZEROUPPER
	RET

// func max(x []float32) float32
#define MAXBODY(L, S, Z, X) \
	L((SI)(BX*1), V1); \
	X(V1, V0)

TEXT MAX, NOSPLIT, $0-28
	MOVQ    x_base+0(FP), SI
	MOVQ    x_len+8(FP), CX
	XORQ    BX, BX
	VMOVUPS minusInf<>(SB), V0
	LOOP(MAXBODY)
	LANES(VMAXPS)
	VMOVSS  X0, ret+24(FP)
	VZEROUPPER
	RET

// func exp(dst, x []float32, shift float32) float32
#define EXPBODY(L, S, Z, X) \
	L((SI)(BX*1), V1);  \
	VSUBPS V2, V1, V1;  \
	EXP(V1, V3, V4);    \
	S(V4, (DI)(BX*1));  \
	Z(V4);              \
	VADDPS V4, V0, V0

TEXT EXPSUM, NOSPLIT, $0-60
	MOVQ         dst_base+0(FP), DI
	MOVQ         dst_len+8(FP), CX
	MOVQ         x_base+24(FP), SI
	VBROADCASTSS shift+48(FP), V2
	XORQ         BX, BX
	ZERO(V0)
	EXPCONSTANTS
	LOOP(EXPBODY)
	LANES(VADDPS)
	VMOVSS       X0, ret+56(FP)
	VZEROUPPER
	RET

// tanh(u) is u + u^3 P(u^2) for |u| < 0.625 (the coefficients are Cephes') and
// 1 - 2/(exp(2u) + 1) above; the sign is put back last.
CONST(tanhSmall<>, $0x3f2000003f200000) // 0.625
CONST(tanh4<>, $0xbbbaf0eabbbaf0ea)     // -5.70498872745e-3
CONST(tanh3<>, $0x3ca9134e3ca9134e)     // 2.06390887954e-2
CONST(tanh2<>, $0xbd5c1e2dbd5c1e2d)     // -5.37397155531e-2
CONST(tanh1<>, $0x3e0883933e088393)     // 1.33314422036e-1
CONST(tanh0<>, $0xbeaaaa99beaaaa99)     // -3.33332819422e-1

// func softcap(dst, x []float32, limit float32)
#define SOFTCAPBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);               \
	VDIVPS      V10, V0, V0;         \
	VANDPS      abs<>(SB), V0, V1;   \
	VANDPS      sign<>(SB), V0, V0;  \
	VADDPS      V1, V1, V2;          \
	EXP(V2, V3, V4);                 \
	VADDPS      one<>(SB), V4, V4;   \
	VMOVUPS     two<>(SB), V5;       \
	VDIVPS      V4, V5, V4;          \
	VMOVUPS     one<>(SB), V5;       \
	VSUBPS      V4, V5, V4;          \
	VMULPS      V1, V1, V2;          \
	VMOVUPS     tanh4<>(SB), V3;     \
	VFMADD213PS tanh3<>(SB), V2, V3; \
	VFMADD213PS tanh2<>(SB), V2, V3; \
	VFMADD213PS tanh1<>(SB), V2, V3; \
	VFMADD213PS tanh0<>(SB), V2, V3; \
	VMULPS      V2, V3, V3;          \
	VFMADD213PS V1, V1, V3;          \
	VSUBPS      tanhSmall<>(SB), V1, V1; \
	VPSRAD      $31, V1, V1;         \
	VANDPS      V3, V1, V3;          \
	VANDNPS     V4, V1, V4;          \
	VORPS       V3, V4, V4;          \
	VORPS       V0, V4, V4;          \
	VMULPS      V10, V4, V4;         \
	S(V4, (DI)(BX*1))

TEXT SOFTCAP, NOSPLIT, $0-52
	MOVQ         dst_base+0(FP), DI
	MOVQ         dst_len+8(FP), CX
	MOVQ         x_base+24(FP), SI
	VBROADCASTSS limit+48(FP), V10
	XORQ         BX, BX
	EXPCONSTANTS
	LOOP(SOFTCAPBODY)
	VZEROUPPER
	RET

// func softcapGrad(d, y []float32, limit float32)
#define SOFTCAPGRADBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);        \
	L((DI)(BX*1), V1);        \
	VDIVPS       V2, V0, V0;  \
	VFNMADD213PS V3, V0, V0;  \
	VMULPS       V0, V1, V1;  \
	S(V1, (DI)(BX*1))

TEXT SOFTCAPGRAD, NOSPLIT, $0-52
	MOVQ         d_base+0(FP), DI
	MOVQ         d_len+8(FP), CX
	MOVQ         y_base+24(FP), SI
	VBROADCASTSS limit+48(FP), V2
	VMOVUPS      one<>(SB), V3
	XORQ         BX, BX
	LOOP(SOFTCAPGRADBODY)
	VZEROUPPER
	RET

// func softmaxGrad(ds, p []float32, delta, scale float32)
#define SOFTMAXGRADBODY(L, S, Z, X) \
	L((DI)(BX*1), V0);  \
	L((SI)(BX*1), V1);  \
	VSUBPS V2, V0, V0;  \
	VMULPS V3, V1, V1;  \
	VMULPS V1, V0, V0;  \
	S(V0, (DI)(BX*1))

TEXT SOFTMAXGRAD, NOSPLIT, $0-56
	MOVQ         ds_base+0(FP), DI
	MOVQ         ds_len+8(FP), CX
	MOVQ         p_base+24(FP), SI
	VBROADCASTSS delta+48(FP), V2
	VBROADCASTSS scale+52(FP), V3
	XORQ         BX, BX
	LOOP(SOFTMAXGRADBODY)
	VZEROUPPER
	RET

// SIGMOID sets s = 1/(1 + exp(-z)) and e = exp(-z) s = 1 - s, and spoils z and t.
#define SIGMOID(z, t, e, s) \
	VXORPS  sign<>(SB), z, z; \
	EXP(z, t, e);             \
	VADDPS  one<>(SB), e, t;  \
	VMOVUPS one<>(SB), s;     \
	VDIVPS  t, s, s;          \
	VMULPS  s, e, e

#define ACTIVATION(name, body) \
TEXT name, NOSPLIT, $0-72;     \
	MOVQ a_base+0(FP), DI;     \
	MOVQ a_len+8(FP), CX;      \
	MOVQ da_base+24(FP), DX;   \
	MOVQ x_base+48(FP), SI;    \
	XORQ BX, BX;               \
	EXPCONSTANTS;                 \
	LOOP(body);                \
	VZEROUPPER;                \
	RET

// func silu(a, da, x []float32): a = x s, da = s + a (1 - s)
#define SILUBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);           \
	VMOVAPS     V0, V1;          \
	SIGMOID(V1, V2, V3, V4);     \
	VMULPS      V4, V0, V0;      \
	VFMADD231PS V0, V3, V4;      \
	S(V0, (DI)(BX*1));           \
	S(V4, (DX)(BX*1))

ACTIVATION(SILU, SILUBODY)

// func geluTanh(a, da, x []float32): with z = k (x + c x^3), s = sigmoid(z):
// a = x s, da = s + a (1 - s) k (1 + 3 c x^2)
CONST(geluK<>, $0x3fcc422a3fcc422a)  // 2 sqrt(2/pi)
CONST(geluC<>, $0x3d3727133d372713)  // 0.044715
CONST(geluC3<>, $0x3e095d4f3e095d4f) // 3 * 0.044715

#define GELUTANHBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);               \
	VMULPS      V0, V0, V5;          \
	VMOVUPS     geluC<>(SB), V1;     \
	VFMADD213PS one<>(SB), V5, V1;   \
	VMULPS      V0, V1, V1;          \
	VMULPS      geluK<>(SB), V1, V1; \
	SIGMOID(V1, V2, V3, V4);         \
	VMULPS      V4, V0, V0;          \
	VFMADD132PS geluC3<>(SB), V12, V5; \
	VMULPS      geluK<>(SB), V5, V5; \
	VMULPS      V0, V3, V3;          \
	VFMADD231PS V5, V3, V4;          \
	S(V0, (DI)(BX*1));               \
	S(V4, (DX)(BX*1))

TEXT GELUTANH, NOSPLIT, $0-72
	MOVQ    a_base+0(FP), DI
	MOVQ    a_len+8(FP), CX
	MOVQ    da_base+24(FP), DX
	MOVQ    x_base+48(FP), SI
	XORQ    BX, BX
	EXPCONSTANTS
	VMOVUPS one<>(SB), V12
	LOOP(GELUTANHBODY)
	VZEROUPPER
	RET

// func gelu(a, da, x []float32): Phi(-|x|) = exp(-x^2/2) t P(t) with
// t = 1/(1 + 0.35 |x|); P is a minimax polynomial of degree 8 for 0 <= |x| < 13.3,
// with a relative error of 1.2e-7. Phi(x) = 1 - Phi(-x). a = x Phi(x),
// da = Phi(x) + x exp(-x^2/2)/sqrt(2 pi).
CONST(erfP<>, $0x3eb333333eb33333) // 0.35
CONST(erf8<>, $0xbcf24a82bcf24a82) // -0.0295765437
CONST(erf7<>, $0x3e15931f3e15931f) // 0.146069035
CONST(erf6<>, $0xbe852308be852308) // -0.260032892
CONST(erf5<>, $0x3e2800433e280043) // 0.164063498
CONST(erf4<>, $0xbcd87468bcd87468) // -0.0264226943
CONST(erf3<>, $0x3ddae20c3ddae20c) // 0.106876463
CONST(erf2<>, $0x3df4bb713df4bb71) // 0.119498141
CONST(erf1<>, $0x3e0f43833e0f4383) // 0.139905974
CONST(erf0<>, $0x3e0ef84a3e0ef84a) // 0.139619023
CONST(phi0<>, $0x3ecc422a3ecc422a) // 1/sqrt(2 pi)

#define GELUBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);               \
	VMULPS      half<>(SB), V0, V1;  \
	VMULPS      V0, V1, V1;          \
	VXORPS      sign<>(SB), V1, V1;  \
	EXP(V1, V2, V3);                 \
	VANDPS      abs<>(SB), V0, V1;   \
	VFMADD132PS erfP<>(SB), V12, V1; \
	VDIVPS      V1, V12, V1;         \
	VMOVUPS     erf8<>(SB), V2;      \
	VFMADD213PS erf7<>(SB), V1, V2;  \
	VFMADD213PS erf6<>(SB), V1, V2;  \
	VFMADD213PS erf5<>(SB), V1, V2;  \
	VFMADD213PS erf4<>(SB), V1, V2;  \
	VFMADD213PS erf3<>(SB), V1, V2;  \
	VFMADD213PS erf2<>(SB), V1, V2;  \
	VFMADD213PS erf1<>(SB), V1, V2;  \
	VFMADD213PS erf0<>(SB), V1, V2;  \
	VMULPS      V1, V2, V2;          \
	VMULPS      V3, V2, V2;          \
	VSUBPS      V2, V12, V4;         \
	VPSRAD      $31, V0, V5;         \
	VANDPS      V2, V5, V2;          \
	VANDNPS     V4, V5, V4;          \
	VORPS       V2, V4, V4;          \
	VMULPS      phi0<>(SB), V3, V3;  \
	VMULPS      V4, V0, V1;          \
	VFMADD231PS V0, V3, V4;          \
	S(V1, (DI)(BX*1));               \
	S(V4, (DX)(BX*1))

TEXT GELU, NOSPLIT, $0-72
	MOVQ    a_base+0(FP), DI
	MOVQ    a_len+8(FP), CX
	MOVQ    da_base+24(FP), DX
	MOVQ    x_base+48(FP), SI
	XORQ    BX, BX
	EXPCONSTANTS
	VMOVUPS one<>(SB), V12
	LOOP(GELUBODY)
	VZEROUPPER
	RET

// func relu(a, da, x []float32): a NaN stays one; -x is negative where x > 0.
#define RELUBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);          \
	VMAXPS  V0, V3, V1;         \
	VSUBPS  V0, V3, V2;         \
	VPSRAD  $31, V2, V2;        \
	VANDPS  one<>(SB), V2, V2;  \
	S(V1, (DI)(BX*1));          \
	S(V2, (DX)(BX*1))

TEXT RELU, NOSPLIT, $0-72
	MOVQ a_base+0(FP), DI
	MOVQ a_len+8(FP), CX
	MOVQ da_base+24(FP), DX
	MOVQ x_base+48(FP), SI
	XORQ BX, BX
	ZERO(V3)
	LOOP(RELUBODY)
	VZEROUPPER
	RET

// func normalize(dst, x, w, b []float32, mean, rstd float32)
#define NORMALIZEBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);       \
	L((DX)(BX*1), V1);       \
	L((R8)(BX*1), V2);       \
	VSUBPS      V6, V0, V0;  \
	VMULPS      V7, V0, V0;  \
	VFMADD231PS V1, V0, V2;  \
	S(V2, (DI)(BX*1))

TEXT NORMALIZE, NOSPLIT, $0-104
	MOVQ         dst_base+0(FP), DI
	MOVQ         dst_len+8(FP), CX
	MOVQ         x_base+24(FP), SI
	MOVQ         w_base+48(FP), DX
	MOVQ         b_base+72(FP), R8
	VBROADCASTSS mean+96(FP), V6
	VBROADCASTSS rstd+100(FP), V7
	XORQ         BX, BX
	LOOP(NORMALIZEBODY)
	VZEROUPPER
	RET

// func normSums(x, w, dy []float32, mean, rstd float32) (sumG, sumGH float32)
#define NORMSUMSBODY(L, S, Z, X) \
	L((SI)(BX*1), V2);       \
	L((DX)(BX*1), V3);       \
	L((R8)(BX*1), V4);       \
	VSUBPS      V6, V2, V2;  \
	VMULPS      V7, V2, V2;  \
	VMULPS      V4, V3, V3;  \
	VADDPS      V3, V5, V5;  \
	VFMADD231PS V2, V3, V0

TEXT NORMSUMS, NOSPLIT, $0-88
	MOVQ         x_base+0(FP), SI
	MOVQ         x_len+8(FP), CX
	MOVQ         w_base+24(FP), DX
	MOVQ         dy_base+48(FP), R8
	VBROADCASTSS mean+72(FP), V6
	VBROADCASTSS rstd+76(FP), V7
	XORQ         BX, BX
	ZERO(V0)
	ZERO(V5)
	LOOP(NORMSUMSBODY)
	LANES(VADDPS)
	VMOVSS       X0, sumGH+84(FP)
	VMOVAPS      V5, V0
	LANES(VADDPS)
	VMOVSS       X0, sumG+80(FP)
	VZEROUPPER
	RET

// func normGrad(dx, plus, x, w, dy []float32, mean, rstd, meanG, meanGH float32)
#define NORMGRADBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);        \
	L((DX)(BX*1), V1);        \
	L((R8)(BX*1), V2);        \
	L((R9)(BX*1), V3);        \
	VSUBPS       V6, V0, V0;  \
	VMULPS       V7, V0, V0;  \
	VFMSUB213PS  V8, V2, V1;  \
	VFNMADD231PS V0, V9, V1;  \
	VFMADD231PS  V1, V7, V3;  \
	S(V3, (DI)(BX*1))

TEXT NORMGRAD, NOSPLIT, $0-136
	MOVQ         dx_base+0(FP), DI
	MOVQ         dx_len+8(FP), CX
	MOVQ         plus_base+24(FP), R9
	MOVQ         x_base+48(FP), SI
	MOVQ         w_base+72(FP), DX
	MOVQ         dy_base+96(FP), R8
	VBROADCASTSS mean+120(FP), V6
	VBROADCASTSS rstd+124(FP), V7
	VBROADCASTSS meanG+128(FP), V8
	VBROADCASTSS meanGH+132(FP), V9
	XORQ         BX, BX
	LOOP(NORMGRADBODY)
	VZEROUPPER
	RET

// func rotate(a, b, cos, sin []float32, sign float32)
#define ROTATEBODY(L, S, Z, X) \
	L((DI)(BX*1), V0);        \
	L((SI)(BX*1), V1);        \
	L((DX)(BX*1), V2);        \
	L((R8)(BX*1), V3);        \
	VMULPS       V6, V3, V3;  \
	VMULPS       V0, V2, V4;  \
	VMULPS       V1, V2, V5;  \
	VFNMADD231PS V1, V3, V4;  \
	VFMADD231PS  V0, V3, V5;  \
	S(V4, (DI)(BX*1));        \
	S(V5, (SI)(BX*1))

TEXT ROTATE, NOSPLIT, $0-100
	MOVQ         a_base+0(FP), DI
	MOVQ         a_len+8(FP), CX
	MOVQ         b_base+24(FP), SI
	MOVQ         cos_base+48(FP), DX
	MOVQ         sin_base+72(FP), R8
	VBROADCASTSS sign+96(FP), V6
	XORQ         BX, BX
	LOOP(ROTATEBODY)
	VZEROUPPER
	RET

// Philox4x32-10 with a counter in each 64-bit lane, of whose words only the lower
// halves count: that is what VPMULUDQ reads.
CONST(philoxMul0<>, $0x00000000D2511F53)
CONST(philoxMul1<>, $0x00000000CD9E8D57)
CONST(philoxWeyl0<>, $0x9E3779B99E3779B9)
CONST(philoxWeyl1<>, $0xBB67AE85BB67AE85)

#define ROUND \
	VPMULUDQ philoxMul0<>(SB), V0, V6; \
	VPMULUDQ philoxMul1<>(SB), V2, V7; \
	VPSRLQ   $32, V7, V0;              \
	VXORPS   V1, V0, V0;               \
	VXORPS   V4, V0, V0;               \
	VPSRLQ   $32, V6, V2;              \
	VXORPS   V3, V2, V2;               \
	VXORPS   V5, V2, V2;               \
	VMOVAPS  V7, V1;                   \
	VMOVAPS  V6, V3;                   \
	VPADDD   philoxWeyl0<>(SB), V4, V4; \
	VPADDD   philoxWeyl1<>(SB), V5, V5

// func random(r []uint32, key, counter uint64): W/2 counters a round. The order of
// the counters in the lanes (laneCounters) is such that unpacking the words of
// even and of odd lanes stores them in sequence.
TEXT RANDOM, NOSPLIT, $0-40
	MOVQ         r_base+0(FP), DI
	MOVQ         r_len+8(FP), CX
	VPBROADCASTD key+24(FP), V8
	VPBROADCASTD key+28(FP), V9
	VPBROADCASTQ counter+32(FP), V10
	VPADDQ       laneCounters<>(SB), V10, V10

loop:
	VMOVAPS  V10, V0
	VPSRLQ   $32, V10, V1
	ZERO(V2)
	ZERO(V3)
	VMOVAPS  V8, V4
	VMOVAPS  V9, V5
	ROUND
	ROUND
	ROUND
	ROUND
	ROUND
	ROUND
	ROUND
	ROUND
	ROUND
	ROUND
	VANDPS   low32<>(SB), V0, V0
	VANDPS   low32<>(SB), V2, V2
	VPSLLQ   $32, V1, V1
	VPSLLQ   $32, V3, V3
	VORPS    V1, V0, V0
	VORPS    V3, V2, V2
	VUNPCKLPD V2, V0, V1
	VUNPCKHPD V2, V0, V3
	VMOVUPS  V1, (DI)
	VMOVUPS  V3, 4*W(DI)
	VPADDQ   laneStep<>(SB), V10, V10
	ADDQ     $(8*W), DI
	SUBQ     $(2*W), CX
	JGT      loop
	VZEROUPPER
	RET

// KEEP brings each lane's bit to the sign, and spreads it over the lane.
DATA toSign<>+0(SB)/8, $0x0000001e0000001f
DATA toSign<>+8(SB)/8, $0x0000001c0000001d
DATA toSign<>+16(SB)/8, $0x0000001a0000001b
DATA toSign<>+24(SB)/8, $0x0000001800000019
DATA toSign<>+32(SB)/8, $0x0000001600000017
DATA toSign<>+40(SB)/8, $0x0000001400000015
DATA toSign<>+48(SB)/8, $0x0000001200000013
DATA toSign<>+56(SB)/8, $0x0000001000000011
GLOBL toSign<>(SB), RODATA|NOPTR, $64

// func dropout(dst, x []float32, keep []uint32, scale float32)
#define KEEP(L) \
	L((SI)(BX*1), V0);           \
	MOVQ         BX, AX;         \
	SHRQ         $5, AX;         \
	VPBROADCASTD (DX)(AX*1), V1; \
	VPSLLVD      V6, V1, V1;     \
	VPSRAD       $31, V1, V1;    \
	VMULPS       V7, V0, V0;     \
	VANDPS       V0, V1, V0

#define DROPOUTBODY(L, S, Z, X) \
	KEEP(L);          \
	S(V0, (DI)(BX*1))

#define DROPOUTADDBODY(L, S, Z, X) \
	KEEP(L);            \
	L((DI)(BX*1), V2);  \
	VADDPS V2, V0, V0;  \
	S(V0, (DI)(BX*1))

#define DROPOUTARGS \
	MOVQ         dst_base+0(FP), DI;   \
	MOVQ         dst_len+8(FP), CX;    \
	MOVQ         x_base+24(FP), SI;    \
	MOVQ         keep_base+48(FP), DX; \
	VMOVUPS      toSign<>(SB), V6;     \
	VBROADCASTSS scale+72(FP), V7;     \
	XORQ         BX, BX

TEXT DROPOUT, NOSPLIT, $0-76
	DROPOUTARGS
	LOOP(DROPOUTBODY)
	VZEROUPPER
	RET

// func dropoutAdd(dst, x []float32, keep []uint32, scale float32)
TEXT DROPOUTADD, NOSPLIT, $0-76
	DROPOUTARGS
	LOOP(DROPOUTADDBODY)
	VZEROUPPER
	RET

// func adamW(w, g, m, v []float32, s *adamStep)
#define ADAMWBODY(L, S, Z, X) \
	L((SI)(BX*1), V0);         \
	L((DX)(BX*1), V1);         \
	L((R8)(BX*1), V2);         \
	L((DI)(BX*1), V3);         \
	VMULPS       V5, V0, V0;   \
	VMULPS       V10, V1, V1;  \
	VFMADD231PS  V11, V0, V1;  \
	VMULPS       V0, V0, V0;   \
	VMULPS       V12, V2, V2;  \
	VFMADD231PS  V13, V0, V2;  \
	S(V1, (DX)(BX*1));         \
	S(V2, (R8)(BX*1));         \
	VSQRTPS      V2, V2;       \
	VFMADD213PS  V9, V8, V2;   \
	VMULPS       V7, V1, V1;   \
	VDIVPS       V2, V1, V1;   \
	VFMSUB213PS  V1, V6, V3;   \
	S(V3, (DI)(BX*1))

TEXT ADAMW, NOSPLIT, $0-104
	MOVQ         w_base+0(FP), DI
	MOVQ         w_len+8(FP), CX
	MOVQ         g_base+24(FP), SI
	MOVQ         m_base+48(FP), DX
	MOVQ         v_base+72(FP), R8
	MOVQ         s+96(FP), AX
	VBROADCASTSS adamStep_clip(AX), V5
	VBROADCASTSS adamStep_decay(AX), V6
	VBROADCASTSS adamStep_rate(AX), V7
	VBROADCASTSS adamStep_rootBias2(AX), V8
	VBROADCASTSS adamStep_eps(AX), V9
	VBROADCASTSS adamStep_beta1(AX), V10
	VBROADCASTSS adamStep_rest1(AX), V11
	VBROADCASTSS adamStep_beta2(AX), V12
	VBROADCASTSS adamStep_rest2(AX), V13
	XORQ         BX, BX
	LOOP(ADAMWBODY)
	VZEROUPPER
	RET
