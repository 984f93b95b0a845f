//! Eight floats at a time: two vectors in modules, an array elsewhere, and the same bits in both, since
//! no lane knows of another.

use core::ops::{Add, Mul, Sub};

/// How many floats there are.
pub const LANES: usize = 8;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) use array::Lanes;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use vectors::Lanes;

impl Add for Lanes {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        self.plus(other)
    }
}

impl Sub for Lanes {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        self.minus(other)
    }
}

impl Mul for Lanes {
    type Output = Self;

    #[inline]
    fn mul(self, other: Self) -> Self {
        self.times(other)
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod array {
    use super::LANES;
    use crate::steps::smaller;

    /// Eight floats.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Lanes([f32; LANES]);

    impl Lanes {
        pub(crate) fn splat(value: f32) -> Self {
            Self([value; LANES])
        }

        pub(crate) fn of(values: &[f32; LANES]) -> Self {
            Self(*values)
        }

        pub(crate) fn of_bytes(bytes: [u8; LANES]) -> Self {
            Self(bytes.map(f32::from))
        }

        pub(crate) fn to_array(self) -> [f32; LANES] {
            self.0
        }

        /// Whether any is smaller than `bound`.
        pub(crate) fn any_below(self, bound: f32) -> bool {
            self.0.iter().any(|value| *value < bound)
        }

        /// The smaller of two values in each lane.
        pub(crate) fn smaller(self, other: Self) -> Self {
            Self(core::array::from_fn(|lane| smaller(self.0[lane], other.0[lane])))
        }

        /// The first lane that equals `value`.
        pub(crate) fn first_equal(self, value: f32) -> Option<usize> {
            self.0.iter().position(|lane| *lane == value)
        }

        pub(super) fn plus(self, other: Self) -> Self {
            Self(core::array::from_fn(|lane| self.0[lane] + other.0[lane]))
        }

        pub(super) fn minus(self, other: Self) -> Self {
            Self(core::array::from_fn(|lane| self.0[lane] - other.0[lane]))
        }

        pub(super) fn times(self, other: Self) -> Self {
            Self(core::array::from_fn(|lane| self.0[lane] * other.0[lane]))
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vectors {
    use super::LANES;
    use bytemuck::cast;
    use core::arch::wasm32::{
        f32x4_add, f32x4_convert_i32x4, f32x4_eq, f32x4_lt, f32x4_mul, f32x4_pmin, f32x4_splat,
        f32x4_sub, i16x8_extend_low_u8x16, i32x4_bitmask, i32x4_extend_high_u16x8,
        i32x4_extend_low_u16x8, u64x2, v128, v128_any_true, v128_or,
    };

    /// Eight floats.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Lanes(v128, v128);

    impl Lanes {
        #[inline]
        pub(crate) fn splat(value: f32) -> Self {
            Self(f32x4_splat(value), f32x4_splat(value))
        }

        #[inline]
        pub(crate) fn of(values: &[f32; LANES]) -> Self {
            let [low, high] = cast(*values);
            Self(low, high)
        }

        #[inline]
        pub(crate) fn of_bytes(bytes: [u8; LANES]) -> Self {
            let words = i16x8_extend_low_u8x16(u64x2(cast(bytes), 0));
            let low = f32x4_convert_i32x4(i32x4_extend_low_u16x8(words));
            Self(low, f32x4_convert_i32x4(i32x4_extend_high_u16x8(words)))
        }

        #[inline]
        pub(crate) fn to_array(self) -> [f32; LANES] {
            cast([self.0, self.1])
        }

        /// Whether any is smaller than `bound`.
        #[inline]
        pub(crate) fn any_below(self, bound: f32) -> bool {
            let bound = f32x4_splat(bound);
            v128_any_true(v128_or(f32x4_lt(self.0, bound), f32x4_lt(self.1, bound)))
        }

        /// The smaller of two values in each lane.
        #[inline]
        pub(crate) fn smaller(self, other: Self) -> Self {
            // The second operand where the first is not smaller, as elsewhere.
            Self(f32x4_pmin(other.0, self.0), f32x4_pmin(other.1, self.1))
        }

        /// The first lane that equals `value`.
        #[inline]
        pub(crate) fn first_equal(self, value: f32) -> Option<usize> {
            let value = f32x4_splat(value);
            let (low, high) = (f32x4_eq(self.0, value), f32x4_eq(self.1, value));
            let equal = i32x4_bitmask(low) | i32x4_bitmask(high) << (LANES / 2);
            (equal != 0).then(|| equal.trailing_zeros() as usize)
        }

        #[inline]
        pub(super) fn plus(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0), f32x4_add(self.1, other.1))
        }

        #[inline]
        pub(super) fn minus(self, other: Self) -> Self {
            Self(f32x4_sub(self.0, other.0), f32x4_sub(self.1, other.1))
        }

        #[inline]
        pub(super) fn times(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0), f32x4_mul(self.1, other.1))
        }
    }
}
