//! The part of msgpack that the protocol speaks.
//!
//! Encoding is always the shortest form, as Python's `umsgpack` writes it. Decoding takes any
//! form of a supported type, since peers may differ, but no trailing bytes, no extension types
//! and no nesting deeper than [`MAX_DEPTH`].

/// Arrays and maps within each other. The deepest message, a list of contacts in a reply, has two;
/// the rest is room for later protocols.
pub const MAX_DEPTH: u8 = 4;

/// A msgpack value. Decoded integers are [`Value::Uint`] unless negative.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer that is not negative.
    Uint(u64),
    /// A negative integer.
    Int(i64),
    /// A number of 64 bits; those of 32 bits are widened.
    Float(f64),
    /// Text in UTF-8.
    Str(String),
    /// Bytes; ids and keys are 20 of them.
    Bin(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// Keys and values in the order of the bytes; keys may repeat.
    Map(Vec<(Value, Value)>),
}

/// Why bytes are no msgpack value of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the value is cut short")]
    Truncated,
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("type byte {0:#04x} is not supported")]
    Unsupported(u8),
    #[error("a string is not UTF-8")]
    InvalidUtf8,
    #[error("{0} bytes after the value")]
    TrailingBytes(usize),
}

impl Value {
    /// Appends the shortest encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(0xc0),
            Self::Bool(false) => out.push(0xc2),
            Self::Bool(true) => out.push(0xc3),
            Self::Uint(n) => encode_uint(*n, out),
            Self::Int(n) => encode_int(*n, out),
            Self::Float(x) => {
                out.push(0xcb);
                out.extend(x.to_be_bytes());
            }
            Self::Str(text) => {
                encode_len(text.len(), &STR, out);
                out.extend(text.as_bytes());
            }
            Self::Bin(bytes) => {
                encode_len(bytes.len(), &BIN, out);
                out.extend(bytes);
            }
            Self::Array(items) => {
                encode_len(items.len(), &ARRAY, out);
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(entries) => {
                encode_len(entries.len(), &MAP, out);
                for (key, value) in entries {
                    key.encode(out);
                    value.encode(out);
                }
            }
        }
    }

    /// The whole of `bytes` as one value. Memory stays proportional to the input.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder { rest: bytes };
        let value = decoder.value(0)?;
        match decoder.rest.len() {
            0 => Ok(value),
            more => Err(DecodeError::TrailingBytes(more)),
        }
    }
}

/// The type bytes that announce a length: the short form with its largest length, then 8, 16 and
/// 32 bits wide.
struct LengthForms {
    short: Option<(u8, u8)>,
    wide8: Option<u8>,
    wide16: u8,
    wide32: u8,
}

const STR: LengthForms =
    LengthForms { short: Some((0xa0, 31)), wide8: Some(0xd9), wide16: 0xda, wide32: 0xdb };
const BIN: LengthForms = LengthForms { short: None, wide8: Some(0xc4), wide16: 0xc5, wide32: 0xc6 };
const ARRAY: LengthForms =
    LengthForms { short: Some((0x90, 15)), wide8: None, wide16: 0xdc, wide32: 0xdd };
const MAP: LengthForms =
    LengthForms { short: Some((0x80, 15)), wide8: None, wide16: 0xde, wide32: 0xdf };

fn encode_len(len: usize, forms: &LengthForms, out: &mut Vec<u8>) {
    if let (Ok(len), Some((tag, max))) = (u8::try_from(len), forms.short)
        && len <= max
    {
        out.push(tag | len);
    } else if let (Ok(len), Some(tag)) = (u8::try_from(len), forms.wide8) {
        out.extend([tag, len]);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(forms.wide16);
        out.extend(len.to_be_bytes());
    } else {
        out.push(forms.wide32);
        // A value beyond 4 GiB has no msgpack form and no datagram carries one.
        out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }
}

fn encode_uint(n: u64, out: &mut Vec<u8>) {
    if let Ok(n) = u8::try_from(n) {
        if n > 0x7f {
            out.push(0xcc);
        }
        out.push(n);
    } else if let Ok(n) = u16::try_from(n) {
        out.push(0xcd);
        out.extend(n.to_be_bytes());
    } else if let Ok(n) = u32::try_from(n) {
        out.push(0xce);
        out.extend(n.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend(n.to_be_bytes());
    }
}

fn encode_int(n: i64, out: &mut Vec<u8>) {
    if let Ok(n) = u64::try_from(n) {
        encode_uint(n, out);
    } else if let Ok(n) = i8::try_from(n) {
        if n < -32 {
            out.push(0xd0);
        }
        out.extend(n.to_be_bytes());
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xd1);
        out.extend(n.to_be_bytes());
    } else if let Ok(n) = i32::try_from(n) {
        out.push(0xd2);
        out.extend(n.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend(n.to_be_bytes());
    }
}

struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A big-endian length of `N` bytes, not yet compared with what follows.
    fn len<const N: usize>(&mut self) -> Result<usize, DecodeError> {
        let bytes: [u8; N] = self.array()?;
        Ok(bytes.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte)))
    }

    fn value(&mut self, depth: u8) -> Result<Value, DecodeError> {
        let [tag] = self.array()?;
        Ok(match tag {
            0x00..=0x7f => Value::Uint(tag.into()),
            0x80..=0x8f => self.map((tag & 0x0f).into(), depth)?,
            0x90..=0x9f => self.list((tag & 0x0f).into(), depth)?,
            0xa0..=0xbf => self.str((tag & 0x1f).into())?,
            0xc0 => Value::Nil,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4 => self.len::<1>().and_then(|len| self.bin(len))?,
            0xc5 => self.len::<2>().and_then(|len| self.bin(len))?,
            0xc6 => self.len::<4>().and_then(|len| self.bin(len))?,
            0xca => Value::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Uint(u8::from_be_bytes(self.array()?).into()),
            0xcd => Value::Uint(u16::from_be_bytes(self.array()?).into()),
            0xce => Value::Uint(u32::from_be_bytes(self.array()?).into()),
            0xcf => Value::Uint(u64::from_be_bytes(self.array()?)),
            0xd0 => int(i8::from_be_bytes(self.array()?).into()),
            0xd1 => int(i16::from_be_bytes(self.array()?).into()),
            0xd2 => int(i32::from_be_bytes(self.array()?).into()),
            0xd3 => int(i64::from_be_bytes(self.array()?)),
            0xd9 => self.len::<1>().and_then(|len| self.str(len))?,
            0xda => self.len::<2>().and_then(|len| self.str(len))?,
            0xdb => self.len::<4>().and_then(|len| self.str(len))?,
            0xdc => self.len::<2>().and_then(|len| self.list(len, depth))?,
            0xdd => self.len::<4>().and_then(|len| self.list(len, depth))?,
            0xde => self.len::<2>().and_then(|len| self.map(len, depth))?,
            0xdf => self.len::<4>().and_then(|len| self.map(len, depth))?,
            0xe0..=0xff => int(i8::from_be_bytes([tag]).into()),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(DecodeError::Unsupported(tag)),
        })
    }

    fn str(&mut self, len: usize) -> Result<Value, DecodeError> {
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::InvalidUtf8)?;
        Ok(Value::Str(text.to_owned()))
    }

    fn bin(&mut self, len: usize) -> Result<Value, DecodeError> {
        Ok(Value::Bin(self.take(len)?.to_vec()))
    }

    fn list(&mut self, len: usize, depth: u8) -> Result<Value, DecodeError> {
        let depth = self.descend(len, depth)?;
        // Grown item by item: what the peer claims allocates nothing.
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(self.value(depth)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, len: usize, depth: u8) -> Result<Value, DecodeError> {
        let depth = self.descend(len, depth)?;
        let mut entries = Vec::new();
        for _ in 0..len {
            entries.push((self.value(depth)?, self.value(depth)?));
        }
        Ok(Value::Map(entries))
    }

    /// One level down, if that is allowed and `len` items of a byte each could follow at all.
    fn descend(&self, len: usize, depth: u8) -> Result<u8, DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        if depth >= MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        Ok(depth.saturating_add(1))
    }
}

/// Any width of integer, filed by its sign.
fn int(n: i64) -> Value {
    u64::try_from(n).map_or(Value::Int(n), Value::Uint)
}
