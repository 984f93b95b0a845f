//! Numbers as features, two at a time: brought to the scale of the input, then to that of the feature.
//!
//! Most features of most models are such numbers. Bounds are two comparisons of vectors; one value at
//! a time, WebAssembly's engines make jumps of them. The two ways differ in nothing but speed
//! (crates/engine/tests compares modules with native code).

use crate::steps::{larger, smaller};

/// Largest absolute value of a scaled input or feature. Beyond a million scales all values are
/// equally far, and their squares still fit.
pub const VALUE_MAX: f64 = 1e6;

/// Centre and reciprocal scale.
pub(crate) type Scale = [f64; 2];

/// One value brought to scale and into range.
#[inline]
pub(crate) fn scaled(value: f64, [centre, scale]: Scale) -> f64 {
    clamp((value - centre) * scale)
}

/// Brings a difference that may have overflowed back into range; never NaN, because neither factor
/// of the product is and a product with zero scale of an infinite difference is taken as zero.
#[inline]
pub(crate) fn clamp(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { smaller(larger(value, -VALUE_MAX), VALUE_MAX) }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) use scalar::Pair;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use vectors::Pair;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod scalar {
    use super::{Scale, scaled};

    /// Two numbers on their way from inputs to features.
    pub(crate) struct Pair {
        inputs: [Scale; 2],
        features: [Scale; 2],
    }

    impl Pair {
        pub(crate) fn new(inputs: [Scale; 2], features: [Scale; 2]) -> Self {
            Self { inputs, features }
        }

        /// The features of two inputs; zero, the centre, for what is missing.
        pub(crate) fn of(&self, values: [f64; 2]) -> [f32; 2] {
            core::array::from_fn(|place| {
                let value = values[place];
                let input = value.is_finite().then(|| scaled(value, self.inputs[place]));
                input.map_or(0.0, |input| scaled(input, self.features[place]) as f32)
            })
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vectors {
    use super::{Scale, VALUE_MAX};
    use core::arch::wasm32::{
        f64x2, f64x2_abs, f64x2_eq, f64x2_extract_lane, f64x2_lt, f64x2_mul, f64x2_pmax,
        f64x2_pmin, f64x2_splat, f64x2_sub, v128, v128_and,
    };

    /// Two numbers on their way from inputs to features.
    pub(crate) struct Pair {
        inputs: Scales,
        features: Scales,
    }

    /// Centres and reciprocal scales.
    struct Scales(v128, v128);

    impl Pair {
        #[inline]
        pub(crate) fn new(inputs: [Scale; 2], features: [Scale; 2]) -> Self {
            Self { inputs: Scales::new(inputs), features: Scales::new(features) }
        }

        /// The features of two inputs; zero, the centre, for what is missing.
        #[inline]
        pub(crate) fn of(&self, [first, second]: [f64; 2]) -> [f32; 2] {
            let values = f64x2(first, second);
            let is_there = f64x2_lt(f64x2_abs(values), f64x2_splat(f64::INFINITY));
            let scaled = v128_and(self.features.of(self.inputs.of(values)), is_there);
            [f64x2_extract_lane::<0>(scaled) as f32, f64x2_extract_lane::<1>(scaled) as f32]
        }
    }

    impl Scales {
        #[inline]
        fn new([first, second]: [Scale; 2]) -> Self {
            Self(f64x2(first[0], second[0]), f64x2(first[1], second[1]))
        }

        /// As [`super::scaled`] does it.
        #[inline]
        fn of(&self, values: v128) -> v128 {
            let scaled = f64x2_mul(f64x2_sub(values, self.0), self.1);
            let numbers = v128_and(scaled, f64x2_eq(scaled, scaled));
            f64x2_pmin(f64x2_pmax(numbers, f64x2_splat(-VALUE_MAX)), f64x2_splat(VALUE_MAX))
        }
    }
}
