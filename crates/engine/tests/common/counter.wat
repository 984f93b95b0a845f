;; A detector that counts: a row's score is the number of rows that its entity has had.
;;
;; In a row whose first input is 13 it counts as ever, marks its own instance as spoiled, and then
;; does mischief. A spoiled instance answers 99 for evermore.
(module
  (memory (export "memory") 2)
  (global $spoiled (mut i32) (i32.const 0))
  ;; The layout: fields, state bytes, times, entities, inputs, states, scores, verdicts,
  ;; attributions, reserved. There is room for 1024 rows.
  (data (i32.const 64) (i32 1 8 4096 16384 32768 49152 65536 81920 98304 0))

  (func $deeper (call $deeper))
  (func (export "twinge_abi") (result i32) (i32.const 1))
  (func (export "twinge_prepare") (param $rows i32) (param $states i32) (result i32)
    (i32.const 64))
  (func (export "twinge_score") (param $rows i32) (param $states i32) (param $flags i32) (result i32)
    (local $row i32) (local $state i32) (local $score f64) (local $verdict i32)
    (if (global.get $spoiled) (then (return (i32.const 99))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $row) (local.get $rows)))
        (local.set $state
          (i32.add (i32.const 49152) (i32.shl
            (i32.load (i32.add (i32.const 16384) (i32.shl (local.get $row) (i32.const 2))))
            (i32.const 3))))
        (local.set $score (f64.add (f64.load (local.get $state)) (f64.const 1)))
        (local.set $verdict (i32.const 0))
        (f64.store (local.get $state) (local.get $score))
        (if (f64.eq
              (f64.load (i32.add (i32.const 32768) (i32.shl (local.get $row) (i32.const 3))))
              (f64.const 13))
          (then
            (global.set $spoiled (i32.const 1))
            (unreachable)))
        (f64.store
          (i32.add (i32.const 65536) (i32.shl (local.get $row) (i32.const 3)))
          (local.get $score))
        (i32.store
          (i32.add (i32.const 81920) (i32.shl (local.get $row) (i32.const 2)))
          (local.get $verdict))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $next)))
    (i32.const 0)))
